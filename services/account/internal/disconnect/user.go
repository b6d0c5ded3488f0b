package disconnect

import (
	"context"
	"errors"
	"fmt"

	"postbus.dev/events"
	"postbus.dev/services/internal/oauthaccount"
)

// usersAtOnce is how many users one look works on.
const usersAtOnce = 100

// takeUsersOut does for each user who is being deleted what can be done now. One
// that fails does not keep the others.
func (j *Job) takeUsersOut(ctx context.Context) error {
	leavers, err := j.cfg.Accounts.Leavers(ctx, usersAtOnce, j.cfg.Settle)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range leavers {
		if err := j.takeUserOut(ctx, l); err != nil {
			errs = append(errs, fmt.Errorf("take user %s out: %w", l.UserID, err))
		}
	}
	if len(leavers) == usersAtOnce {
		j.Poke()
	}
	return errors.Join(errs...)
}

func (j *Job) takeUserOut(ctx context.Context, l oauthaccount.Leaver) error {
	if !l.Last {
		_, err := j.cfg.Accounts.Disconnect(ctx, oauthaccount.Select{UserID: l.UserID}, events.DisconnectUserDeleted, true)
		j.cfg.Failpoint("disconnect.user_begun")
		return err
	}
	j.cfg.Failpoint("disconnect.user_alone")
	gone, err := j.cfg.Users.FinishDeletion(ctx, l.UserID)
	if gone {
		j.metrics.users.Add(ctx, 1)
		j.log.InfoContext(ctx, "user deleted", "user", l.UserID)
	}
	return err
}
