package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Report is what a run found.
type Report struct {
	Facts   Facts     `json:"facts"`
	Short   bool      `json:"short,omitempty"`
	Figures []*Figure `json:"figures"`
}

// Get returns the median of a figure.
func (r *Report) Get(key string) (float64, bool) {
	if fig := (&figures{r.Figures}).find(key); fig != nil {
		return fig.Median, true
	}
	return 0, false
}

// Print prints the facts and a table.
func (r *Report) Print(out io.Writer) error {
	if _, err := fmt.Fprintf(out, "\n%s\n\n", r.Facts); err != nil {
		return err
	}
	if r.Short {
		if _, err := fmt.Fprintln(out, "The short form: it shows that everything works, its numbers mean little."); err != nil {
			return err
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprint(w, "median\t\trounds\t\n")
	marked := false
	for _, f := range r.Figures {
		rounds := make([]string, len(f.Rounds))
		for i, s := range f.Rounds {
			if rounds[i] = number(s.Value); s.Disturbed {
				rounds[i] += "*"
				marked = true
			}
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t  %s\n", number(f.Median), f.Unit, strings.Join(rounds, "  "), f.Text)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if marked {
		_, err := fmt.Fprintln(out, "\n* other programs used more than 10 % of the machine meanwhile; the median leaves such rounds out where it can")
		return err
	}
	return nil
}

// number shows three digits that matter, or whole numbers.
func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 0.1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	default:
		return strconv.FormatFloat(v, 'f', 4, 64)
	}
}

func (r *Report) write(path string) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(body, '\n'), 0o644)
}
