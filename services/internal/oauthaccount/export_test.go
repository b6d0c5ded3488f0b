package oauthaccount

// ResolveSQL is the statement of Resolve, for a test that asks for its plan.
const ResolveSQL = resolveSQL
