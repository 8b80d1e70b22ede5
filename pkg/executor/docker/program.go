package docker

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// program is litci as it is copied into containers.
type program struct {
	path    string
	size    int64
	machine elf.Machine
}

// ShimName is the program for containers that is taken where it is beside this one.
const ShimName = "litci-shim"

// shimBuild makes a program that runs in every container.
const shimBuild = "CGO_ENABLED=0 go build -o bin/ ./pkg/executor/docker/cmd/" + ShimName

// ErrDynamic says that a program needs libraries, which images may not have.
var ErrDynamic = errors.New("linked dynamically, and would not run in every image")

// findShim is the small one beside this program, or this program.
func findShim() (string, error) {
	own, err := os.Executable()
	if err == nil {
		own, err = filepath.EvalSymlinks(own)
	}
	if err != nil {
		return "", fmt.Errorf("docker: path of this program: %w", err)
	}
	beside := filepath.Join(filepath.Dir(own), ShimName)
	if _, err := os.Stat(beside); !errors.Is(err, fs.ErrNotExist) {
		return beside, nil
	}
	return own, nil
}

// openShim looks at the program at path, or finds one. It must need nothing of the
// image that it comes to.
func openShim(path string) (program, error) {
	if path == "" {
		var err error
		if path, err = findShim(); err != nil {
			return program{}, err
		}
	}
	file, err := os.Open(path)
	if err != nil {
		return program{}, fmt.Errorf("docker: program for the containers: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return program{}, fmt.Errorf("docker: program for the containers: %w", err)
	}
	binary, err := elf.NewFile(file)
	if err != nil {
		return program{}, fmt.Errorf("docker: program for the containers: %s is not a Linux program: %w", path, err)
	}
	for _, part := range binary.Progs {
		if part.Type == elf.PT_INTERP {
			return program{}, fmt.Errorf("docker: %s is %w: %s makes a program for the containers, which is found beside this one, or named by --docker-shim", path, ErrDynamic, shimBuild)
		}
	}
	return program{path, info.Size(), binary.Machine}, nil
}

// machines are the engine's words for architectures.
func machines() map[string]elf.Machine {
	return map[string]elf.Machine{
		"x86_64": elf.EM_X86_64, "amd64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64, "arm64": elf.EM_AARCH64,
	}
}

// runsOn refuses an engine on machines of another kind.
func (p program) runsOn(arch string) error {
	want, known := machines()[arch]
	if !known || want == p.machine {
		return nil
	}
	goarch := "amd64"
	if want == elf.EM_AARCH64 {
		goarch = "arm64"
	}
	return fmt.Errorf("docker: the engine runs on %s, and %s is for %v: GOARCH=%s %s makes a program for its containers, to be named by --docker-shim", arch, p.path, p.machine, goarch, shimBuild)
}

// writeTo copies the program.
func (p program) writeTo(w io.Writer) error {
	file, err := os.Open(p.path)
	if err != nil {
		return fmt.Errorf("program for the containers: %w", err)
	}
	defer file.Close()
	if _, err := io.CopyN(w, file, p.size); err != nil {
		return fmt.Errorf("program for the containers: %w", err)
	}
	return nil
}
