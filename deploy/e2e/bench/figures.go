package bench

import "slices"

// disturbed is the share of the machine above which other programs had too
// much of it for a round to count for much.
const disturbed = 0.10

// Figure is one thing that was measured, once a round.
type Figure struct {
	Key    string   `json:"key"`  // stable
	Text   string   `json:"text"` // for people
	Unit   string   `json:"unit,omitempty"`
	Median float64  `json:"median"`
	Rounds []Sample `json:"rounds"`
}

// Sample is what one round measured.
type Sample struct {
	Value     float64 `json:"value"`
	Foreign   float64 `json:"foreign"`             // share of the machine that other programs used meanwhile
	Disturbed bool    `json:"disturbed,omitempty"` // more than a tenth
}

// figures are in the order in which they came first.
type figures struct{ list []*Figure }

func (f *figures) find(key string) *Figure {
	if i := slices.IndexFunc(f.list, func(have *Figure) bool { return have.Key == key }); i >= 0 {
		return f.list[i]
	}
	return nil
}

// add adds a round's value.
func (f *figures) add(key, text, unit string, s Sample) {
	fig := f.find(key)
	if fig == nil {
		fig = &Figure{Key: key, Text: text, Unit: unit}
		f.list = append(f.list, fig)
	}
	fig.Rounds = append(fig.Rounds, s)
	fig.Median = fig.median()
}

// median is of the rounds that were not disturbed, or of all if none was clean.
func (fig *Figure) median() float64 {
	var values, all []float64
	for _, s := range fig.Rounds {
		if all = append(all, s.Value); !s.Disturbed {
			values = append(values, s.Value)
		}
	}
	if len(values) == 0 {
		values = all
	}
	slices.Sort(values)
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}

func (b *bench) add(used spent, key, text, unit string, value float64) {
	b.figures.add(key, text, unit, Sample{Value: value, Foreign: used.foreign, Disturbed: used.foreign > disturbed})
}

// ratios compares what this round measured with what it could have at most.
func (b *bench) ratios() {
	for _, r := range []struct{ key, text, of, by string }{
		{"publishes_by_calls_do", "publishes/s by bare calls/s, connections kept", "publishes_per_s", "calls_per_s_do"},
		{"publishes_by_calls_commit", "publishes/s by bare calls/s, as Commit", "publishes_per_s", "calls_per_s_commit"},
		{"publishes_by_commits", "publishes/s by single-row commits/s, 32 clients", "publishes_per_s", "commits_per_s_32"},
	} {
		of, by := b.figures.find(r.of), b.figures.find(r.by)
		if of == nil || by == nil {
			continue
		}
		a, z := of.Rounds[len(of.Rounds)-1], by.Rounds[len(by.Rounds)-1]
		b.figures.add(r.key, r.text, "", Sample{
			Value: a.Value / z.Value, Foreign: max(a.Foreign, z.Foreign), Disturbed: a.Disturbed || z.Disturbed,
		})
	}
}
