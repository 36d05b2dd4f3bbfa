package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// volume is the note beside an image file. The controller alone writes it.
type volume struct {
	// Name of the volume, which is its id.
	Name string `json:"name"`
	// Bytes is its size.
	Bytes int64 `json:"bytes"`
	// Node it is bound to, if any.
	Node string `json:"node"`
	// Attached is the node it is attached to, if any.
	Attached string `json:"attached"`
}

// store is a directory of volumes: NAME.img and NAME.json.
type store struct{ dir string }

func (s store) image(name string) string { return filepath.Join(s.dir, name+".img") }
func (s store) note(name string) string  { return filepath.Join(s.dir, name+".json") }

// read returns nil for a volume that is not there.
func (s store) read(name string) (*volume, error) {
	// Names come from requests, and may not lead elsewhere.
	if name == "" || strings.ContainsAny(name, "/\x00") {
		return nil, nil
	}
	text, err := os.ReadFile(s.note(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	v := new(volume)
	return v, json.Unmarshal(text, v)
}

func (s store) write(v *volume) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	whole := s.note(v.Name) + ".new"
	if err := os.WriteFile(whole, text, 0o644); err != nil {
		return err
	}
	return os.Rename(whole, s.note(v.Name))
}

// create makes the image, empty and sparse, and then the note: a volume with a note is whole.
func (s store) create(v *volume) error {
	image, err := os.OpenFile(s.image(v.Name), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer image.Close()
	if err := image.Truncate(v.Bytes); err != nil {
		return err
	}
	return s.write(v)
}

func (s store) remove(name string) error {
	for _, path := range []string{s.note(name), s.image(name)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// used returns the bytes of all volumes bound to a node.
func (s store) used(node string) (int64, error) {
	notes, err := filepath.Glob(filepath.Join(s.dir, "*.json"))
	var sum int64
	for _, path := range notes {
		v, err := s.read(strings.TrimSuffix(filepath.Base(path), ".json"))
		if err != nil {
			return 0, err
		}
		if v != nil && v.Node == node {
			sum += v.Bytes
		}
	}
	return sum, err
}
