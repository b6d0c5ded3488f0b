package oauthaccount

// Statements, for tests that ask for their plans.
const (
	ResolveSQL     = resolveSQL
	ClaimSQL       = claimSQL
	LeaversSQL     = leaversSQL
	EraseFormerSQL = eraseFormerSQL

	ClaimRefreshesSQL = claimRefreshesSQL
	LockForRefreshSQL = lockForRefreshSQL
	DueRefreshesSQL   = dueRefreshesSQL
	MakeRefreshDueSQL = makeDueSQL
)

// Place is what a token of an account is sealed for.
var Place = place

// SelectSQL is the statement of Disconnect that finds its accounts.
func SelectSQL(sel Select) string {
	where, _, err := sel.where()
	if err != nil {
		panic(err)
	}
	return lockSQL(where)
}
