package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/migrations"
)

// seedLife is how long a seed is kept after its last use.
const seedLife = 24 * time.Hour

// seed returns the data of a stopped cluster with the roles and the template in
// place, which clusters are copied from: a tenth of the work of making one. It
// is made by the first package whose tests need it, and kept where fetched
// binaries are, by what it depends on: the date too, as the migrations make the
// partitions of the next days.
func (b *sharedBench) seed(ctx context.Context, search postgres.Search) (dir string, err error) {
	bin, err := postgres.Provision(ctx, search)
	if err != nil {
		return "", err
	}
	store, err := search.Store()
	if err != nil { // this user has no place for it: it serves this process alone
		if store, err = b.dir(); err != nil {
			return "", err
		}
	}
	user, err := postgres.User()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(store, fmt.Sprintf("seed-%s-%s-%s-%.16s", bin.Version, user, time.Now().UTC().Format(time.DateOnly), migrations.Fingerprint()))
	unlock, err := lockSeeds(store)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := b.makeSeed(ctx, search, dir); err != nil {
			return "", err
		}
	}
	now := time.Now()
	return dir, errors.Join(os.Chtimes(dir, now, now), dropSeeds(store, now.Add(-seedLife)))
}

// makeSeed makes a cluster, stops it and keeps its data.
func (b *sharedBench) makeSeed(ctx context.Context, search postgres.Search, dir string) error {
	p := &PostgreSQL{}
	var err error
	if p.dir, err = b.dir(); err != nil {
		return err
	}
	if p.Server, err = postgres.Start(ctx, p.config(search, nil)); err != nil {
		return errors.Join(err, os.RemoveAll(p.dir))
	}
	err = errors.Join(migrations.EnsureRoles(ctx, p.DSN("postgres")), p.makeTemplate(ctx))
	p.disconnect()
	if err == nil {
		err = p.Keep(ctx, dir)
	}
	return errors.Join(err, p.close())
}

// lockSeeds keeps two processes from making the same seed.
func lockSeeds(store string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(store, "seed.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Closing alone would leave it locked for as long as a program that is being
	// started holds a copy.
	return func() { _, _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close() }, nil
}

// dropSeeds removes the seeds that were last used before then.
func dropSeeds(store string, then time.Time) error {
	old, err := filepath.Glob(filepath.Join(store, "seed-*"))
	for _, dir := range old {
		if info, statErr := os.Stat(dir); statErr == nil && info.ModTime().Before(then) {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	return err
}
