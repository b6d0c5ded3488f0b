package postgres

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// registerUUID lets uuid.UUID travel like [16]byte. Without it pgx falls back
// to the database/sql interfaces, which go through text: a tenth of the CPU of
// a busy publisher.
func registerUUID(m *pgtype.Map) {
	t := &pgtype.Type{Name: "uuid", OID: pgtype.UUIDOID, Codec: uuidCodec{}}
	m.RegisterType(t)
	m.RegisterType(&pgtype.Type{Name: "_uuid", OID: pgtype.UUIDArrayOID, Codec: &pgtype.ArrayCodec{ElementType: t}})
}

type uuidCodec struct{ pgtype.UUIDCodec }

func (c uuidCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(uuid.UUID); !ok {
		return c.UUIDCodec.PlanEncode(m, oid, format, value)
	}
	next := c.UUIDCodec.PlanEncode(m, oid, format, pgtype.UUID{})
	if next == nil {
		return nil
	}
	return uuidEncodePlan{next}
}

func (c uuidCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*uuid.UUID); !ok {
		return c.UUIDCodec.PlanScan(m, oid, format, target)
	}
	next := c.UUIDCodec.PlanScan(m, oid, format, (*uuidTarget)(nil))
	if next == nil {
		return nil
	}
	return uuidScanPlan{next}
}

type uuidEncodePlan struct{ next pgtype.EncodePlan }

func (p uuidEncodePlan) Encode(value any, buf []byte) ([]byte, error) {
	return p.next.Encode(pgtype.UUID{Bytes: value.(uuid.UUID), Valid: true}, buf)
}

type uuidScanPlan struct{ next pgtype.ScanPlan }

func (p uuidScanPlan) Scan(src []byte, target any) error {
	return p.next.Scan(src, (*uuidTarget)(target.(*uuid.UUID)))
}

type uuidTarget uuid.UUID

// ScanUUID implements pgtype.UUIDScanner.
func (t *uuidTarget) ScanUUID(v pgtype.UUID) error {
	if !v.Valid {
		return errNullUUID
	}
	*t = uuidTarget(v.Bytes)
	return nil
}
