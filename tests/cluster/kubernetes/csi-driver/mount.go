package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// run returns what a program prints; its error has all that was said.
func run(name string, words ...string) (string, error) {
	said, err := exec.Command(name, words...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(words, " "), err, strings.TrimSpace(string(said)))
	}
	return string(said), err
}

// haveFileSystem makes one where there is none, and repairs what a crash left.
func haveFileSystem(image, kind string) error {
	found, err := run("blkid", "-p", "-o", "value", "-s", "TYPE", image)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		// blkid knows nothing in it.
		if kind == "xfs" {
			_, err = run("mkfs.xfs", "-q", image)
		} else {
			_, err = run("mkfs.ext4", "-q", "-m", "0", image)
		}
		return err
	}
	if err == nil && strings.TrimSpace(found) == "ext4" {
		_, err = run("e2fsck", "-f", "-p", image)
		if errors.As(err, &exit) && exit.ExitCode() == 1 {
			// It repaired something.
			err = nil
		}
	}
	return err
}

// mountImage mounts by a loop device that goes with the mount.
func mountImage(image, target string, options []string) error {
	_, err := run("mount", "-o", strings.Join(append([]string{"loop"}, options...), ","), image, target)
	return err
}

func bind(source, target string, readonly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	if readonly {
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return errors.Join(fmt.Errorf("make %s read-only: %w", target, err), unmount(target))
		}
	}
	return nil
}

func isMounted(path string) (bool, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == path {
			return true, nil
		}
	}
	return false, err
}

func unmount(path string) error {
	for {
		mounted, err := isMounted(path)
		if !mounted || err != nil {
			return err
		}
		if err := unix.Unmount(path, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}
