package outbox

// Statements are those whose plans a test looks at.
var Statements = map[string]string{
	"horizon": horizonSQL, "read": readSQL, "pending": pendingSQL, "lag": lagSQL, "append": Insert, "make": makeCursorSQL, "load": loadCursorSQL, "move": moveCursorSQL,
}
