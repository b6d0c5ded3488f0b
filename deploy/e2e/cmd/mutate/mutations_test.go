package main

import (
	"regexp"
	"testing"
)

// That they fit the code is seen when they are tried.
func TestEachMutationSaysWhatItChangesAndNamesItsTest(t *testing.T) {
	t.Parallel()
	all, err := mutations()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d mutations, %v", len(all), err)
	}
	names := map[string]bool{}
	for _, m := range all {
		if m.Name == "" || m.File == "" || m.Old == "" || m.Old == m.New || m.Pkg == "" || m.Test == "" || names[m.Name] {
			t.Errorf("incomplete, or there already: %+v", m)
		}
		if _, err := regexp.Compile(m.Test); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		names[m.Name] = true
	}
}
