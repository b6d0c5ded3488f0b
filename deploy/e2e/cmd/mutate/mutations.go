package main

// mutation takes one mechanism out of the code.
type mutation struct {
	name     string
	file     string // in the repository
	old, new string // old is there exactly once
	pkg      string // of the test
	test     string // -run
}

const (
	jobs     = "services/publisher/internal/job"
	cycle    = "services/publisher/internal/publish"
	outboxes = "services/internal/outbox"
	e2e      = "deploy/e2e"
)

func mutations() []mutation {
	return []mutation{
		{
			name: "arm without the lane update", file: jobs + "/write.go",
			old: "(l.armed IS NULL AND l.draining_at IS NULL)", new: "l.draining_at IS NULL",
			pkg: jobs, test: "TestOnlyOnePublishOfAnAccountIsArmedAtATime",
		},
		{
			name: "arm whether the lane moved or not", file: jobs + "/write.go",
			old: "AND (NOT (may.arm OR may.hold) OR may.id IN (SELECT id FROM lanes))", new: "",
			pkg: jobs, test: "TestOnlyOnePublishOfAnAccountIsArmedAtATime",
		},
		{
			name: "no fence", file: jobs + "/write.go",
			old: "(u.fence = 0 OR (l.fence = u.fence AND l.owner = $28 AND l.until > clock_timestamp()))", new: "($28::uuid IS NOT NULL)",
			pkg: jobs, test: "TestAnOwnerWhoseLaneWasTakenCannotArm",
		},
		{
			name: "no version", file: jobs + "/write.go",
			old: "JOIN publishes p ON p.id = u.id AND p.version = u.version", new: "JOIN publishes p ON p.id = u.id",
			pkg: jobs, test: "TestOfACancelAndAnArmOneMoves|TestTheSameTransitionTwice",
		},
		{
			name: "arm before its time", file: jobs + "/write.go",
			old: "p.due_at <= clock_timestamp() AND", new: "",
			pkg: jobs, test: "TestNothingIsArmedBeforeItsTimeOrAfterItsEnd",
		},
		{
			name: "arm behind a closed gate", file: jobs + "/write.go",
			old: "AND ` + ungated + `", new: "AND (true OR ` + ungated + `)",
			pkg: jobs, test: "TestAClosedGateStopsAnArm",
		},
		{
			name: "arm while the account drains", file: jobs + "/write.go",
			old: "(l.armed IS NULL AND l.draining_at IS NULL)", new: "l.armed IS NULL",
			pkg: jobs, test: "TestADrainingAccountTakesNoRequestOfBeforeAndArmsNothing",
		},
		{
			name: "accept for an account that drains", file: jobs + "/intake.go",
			old: "AND l.draining_at IS NOT NULL AND l.link_version >= u.account_version", new: "AND l.draining_at IS NOT NULL AND u.account_version < 0",
			pkg: jobs, test: "TestARequestAndADisconnectAtTheSameMoment|TestADrainingAccountTakes",
		},
		{
			name: "drained without a look under the lock", file: jobs + "/drain.go",
			old: "if err != nil || open > 0 {", new: "if err != nil {",
			pkg: jobs, test: "TestDrainedIsNotToldOfWhatWentOnMeanwhile",
		},
		{
			name: "drained told again for the same event", file: jobs + "/drain.go",
			old: "drained_at = NULL,\n  next_at = CASE WHEN l.owner IS NULL THEN l.next_at ELSE least(l.next_at, clock_timestamp()) END\nWHERE l.link_version < excluded.link_version",
			new: "drained_at = NULL,\n  next_at = CASE WHEN l.owner IS NULL THEN l.next_at ELSE least(l.next_at, clock_timestamp()) END",
			pkg: jobs, test: "TestDrainedIsToldOnceForEachTimeThatAnAccountIsDisconnected",
		},
		{
			name: "no dedup of requests", file: cycle + "/accept.go",
			old: "ID: events.PublishID(req.Source, req.ID), EventSource", new: "ID: uuid.New(), EventSource",
			pkg: e2e, test: "TestARequestThatComesAgain",
		},
		{
			name: "commit without writing armed", file: cycle + "/commit.go",
			old: "w, err := t.r.store.Write(ctx, tr)\n	if err != nil {\n		return connectors.Window{}, err\n	}\n	if !w.Moved {",
			new: "w, err := job.Written{Moved: true, Publish: t.p}, error(nil)\n	if err != nil {\n		return connectors.Window{}, err\n	}\n	if !w.Moved {",
			pkg: e2e, test: "TestAPublisherKilled.*/publish.answered",
		},
		{
			name: "absence taken before quiet_at", file: jobs + "/read.go",
			old: "SELECT clock_timestamp() >= p.quiet_at, ", new: "SELECT true, ",
			pkg: e2e, test: "TestACallThatTheProviderCarriesOutLateIsWaitedFor",
		},
		{
			name: "send after send_by", file: "services/connectors/guard.go",
			old: "if !now.Before(g.sendBy) || !now.Before(g.wallBy) {", new: "if false && now.Before(g.sendBy) {",
			pkg: "services/connectors", test: ".",
		},
		{
			name: "relay without the xmin guard", file: outboxes + "/read.go",
			old: "  AND xid < pg_snapshot_xmin(pg_current_snapshot())\n", new: "",
			pkg: outboxes, test: "TestARowThatCommitsLateIsNotSkipped",
		},
		{
			name: "a lost answer retried blindly", file: cycle + "/commit.go",
			old: "tr.Publish.State, tr.Publish.Failures = job.Unknown, 0\n		return tr", new: "tr.Publish.State, tr.Publish.Failures, tr.Publish.FreshUntil, tr.Lane = job.Ready, 0, time.Time{}, job.Free\n		return tr",
			pkg: e2e, test: "TestACallThatTheProviderCarriesOutLateIsWaitedFor",
		},
		{
			name: "a call with a body sent again", file: "services/connectors/request.go",
			old: "req.ContentLength = int64(len(body))",
			new: "req.ContentLength = int64(len(body))\n\t\treq.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }",
			pkg: "services/connectors", test: "TestDoNeverReplaysAPostOnAReusedConnection",
		},
		{
			name: "a forged callback believed", file: "services/connectors/instagram/callback.go",
			old: "!hmac.Equal(got, mac.Sum(nil))", new: "len(got) != mac.Size()",
			pkg: "services/connectors/instagram", test: "TestAForgedCallIsRefusedAndNotQuoted",
		},
		{
			name: "a missing permission overlooked", file: "services/connectors/instagram/authorize.go",
			old: "if !slices.Contains(granted, name) {", new: "if false && !slices.Contains(granted, name) {",
			pkg: "services/connectors/instagram", test: "TestAPermissionThatIsMissingEndsTheExchange",
		},
	}
}
