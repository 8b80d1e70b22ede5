package fakelightning

import "strings"

// Step is a state that a job shows for a number of reads.
type Step struct {
	State string
	Reads int
}

// Script is what a job goes through beside its run.
type Script struct {
	// Before are the states before the run.
	Before []Step
	// NoRun leaves the run out: the job goes on with After, or stays where it is.
	NoRun bool
	// Take ends the machine once the job has printed a line of its own.
	Take bool
	// Restart runs the job again on another machine after that.
	Restart bool
	// Notice is set when the machine is taken.
	Notice bool
	// Vanish makes the job unknown at its end.
	Vanish bool
	// Mute loses the last line of the log.
	Mute bool
	// NoGPU gives a machine without the GPU that was asked for.
	NoGPU bool
	// After are the states behind the run; empty means what the service does.
	After []Step
	// Final is the last state; empty means by the exit code.
	Final string
	// Message and ServerError are set with it.
	Message, ServerError string
}

// Scripts are the scripts by name.
func Scripts() map[string]Script {
	usual := []Step{{"pending", 1}, {"creating", 1}}
	return map[string]Script{
		"ok":              {Before: usual},
		"ok-late-pending": {Before: usual, After: []Step{{"pending", 5}}},
		"unknown-state":   {Before: usual, After: []Step{{"hibernating", 3}, {"", 2}}},
		"stuck":           {Before: []Step{{"pending", 1 << 30}}},
		"preempt-restart": {Before: usual, Take: true, Notice: true, Restart: true},
		"preempt-dead":    {Before: usual, Take: true, Notice: true, Final: "stopped"},
		"preempt-silent":  {Before: usual, Take: true, Final: "stopped"},
		"memory":          {Before: usual, Take: true, Final: "failed", Message: "OOMKilled: the container exceeded its memory"},
		"failed":          {Before: usual, Take: true, Final: "failed"},
		"no-marker":       {Before: usual, Mute: true, Final: "completed"},
		"vanished":        {Before: usual, Take: true, Vanish: true},
		"infra":           {Before: usual, NoRun: true, After: []Step{{"creating", 1}}, Final: "failed", ServerError: "image pull failed"},
		"no-gpu":          {Before: usual, NoGPU: true},
		"false-failure":   {Before: usual, Final: "failed", Message: "artifacts could not be saved"},
	}
}

// scriptOf chooses by the image's tag or by FAKE_SCRIPT.
func scriptOf(spec jobSpec) Script {
	scripts := Scripts()
	for _, v := range spec.Env {
		if script, ok := scripts[v.Value]; ok && v.Name == "FAKE_SCRIPT" {
			return script
		}
	}
	if script, ok := scripts[spec.Image[strings.LastIndex(spec.Image, ":")+1:]]; ok {
		return script
	}
	return scripts["ok"]
}
