package events

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/google/uuid"
)

// PublishID is the id of the publish that the request with this CloudEvents
// source and id asks for: a UUIDv8 of the SHA-256 over both, each after its
// length in bytes as a big-endian uint64. Everybody knows it beforehand, and a
// repeat of the request has the same one.
func PublishID(source, id string) uuid.UUID {
	b := make([]byte, 0, 16+len(source)+len(id))
	b = binary.BigEndian.AppendUint64(b, uint64(len(source)))
	b = append(b, source...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(id)))
	b = append(b, id...)
	sum := sha256.Sum256(b)
	u := uuid.UUID(sum[:16])
	u[6] = u[6]&0x0F | 0x80 // version 8: made by a rule of our own
	u[8] = u[8]&0x3F | 0x80 // the variant of RFC 9562
	return u
}

// MsgID is the Nats-Msg-Id of an event: its source, "/" and its id, encoded so
// that a header can carry it. A "/" within the id is encoded too: two pairs never
// share a MsgID, or the server would drop the second event as a repeat.
func MsgID(source, id string) string {
	return percentEncode(source) + "/" + strings.ReplaceAll(percentEncode(id), "/", "%2F")
}

// ParseMsgID is the reverse of MsgID; ok is false for what MsgID never makes.
func ParseMsgID(msgID string) (source, id string, ok bool) {
	i := strings.LastIndexByte(msgID, '/')
	if i < 0 {
		return "", "", false
	}
	source, sourceErr := percentDecode(msgID[:i])
	id, idErr := percentDecode(msgID[i+1:])
	if sourceErr != nil || idErr != nil || MsgID(source, id) != msgID {
		return "", "", false
	}
	return source, id, true
}
