package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// loopOf finds the loop device of an image, "" without one. By device and inode: paths differ between mount namespaces.
func loopOf(image string) (string, error) {
	var wanted unix.Stat_t
	if err := unix.Stat(image, &wanted); errors.Is(err, unix.ENOENT) {
		return "", nil
	} else if err != nil {
		return "", &os.PathError{Op: "stat", Path: image, Err: err}
	}
	attached, err := filepath.Glob("/sys/block/loop*/loop")
	for _, path := range attached {
		name := "/dev/" + filepath.Base(filepath.Dir(path))
		device, err := os.Open(name)
		if err != nil {
			continue
		}
		info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
		device.Close()
		if err == nil && info.Inode == wanted.Ino && info.Device == wanted.Dev {
			return name, nil
		}
	}
	return "", err
}

// setLoop gives an image a loop device that stays until it is taken away, or finds the one it has.
func setLoop(image string) (string, error) {
	if loop, err := loopOf(image); loop != "" || err != nil {
		return loop, err
	}
	said, err := run("losetup", "--find", "--show", image)
	return strings.TrimSpace(said), err
}
