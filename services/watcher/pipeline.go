package watcher

// pipeline takes a job's raw log and hands on its lines: clean, with every secret
// hidden, each ending in a newline. Nothing of the log goes anywhere else.
type pipeline struct {
	splitter splitter
	commands commands
	masker   *masker
	// inside says that a part of the present line has passed; muted that the line
	// names a secret and is not handed on.
	inside, muted bool
	emit          func(line string)
}

func newPipeline(masks *masker, emit func(line string)) *pipeline {
	return &pipeline{masker: masks, emit: emit}
}

// write takes the next bytes of the log.
func (p *pipeline) write(raw []byte) { p.splitter.write(raw, p.piece) }

// flush ends the line in hand.
func (p *pipeline) flush() { p.splitter.flush(p.piece) }

// piece is one line, or a part of a very long one.
func (p *pipeline) piece(raw []byte, more bool) {
	begins := !p.inside
	p.inside = more
	text := clean(raw)
	if begins {
		p.muted = false
		if cmd, ok := p.commands.next(text); ok && cmd.name == "add-mask" {
			p.masker.add(cmd.data)
			p.muted = true
		}
	}
	if p.muted {
		return
	}
	line := p.masker.apply(text, more)
	if line != "" || begins {
		p.emit(line)
	}
}

// note puts a line of litci's own into the log, behind what came so far.
func (p *pipeline) note(line string) {
	p.flush()
	p.emit(line)
}
