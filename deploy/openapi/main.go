// Command openapi writes schemas/openapi.json: the documents of all services as
// one. Run it in the folder deploy; make generate does.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"

	"postbus.dev/services/account"
	"postbus.dev/services/publisher"
)

func main() {
	doc, err := document()
	if err == nil {
		err = os.WriteFile("../schemas/openapi.json", doc, 0o644) //nolint:gosec // everybody may read it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

// object is any JSON object.
type object = map[string]any

// document merges what the services document of themselves. What two of them
// have in common has to be the same in both.
func document() ([]byte, error) {
	all := object{}
	for _, service := range []func() ([]byte, error){publisher.OpenAPI, account.OpenAPI} {
		raw, err := service()
		if err != nil {
			return nil, err
		}
		var one object
		if err := json.Unmarshal(raw, &one); err != nil {
			return nil, err
		}
		delete(one, "info")
		if err := merge(all, one, ""); err != nil {
			return nil, err
		}
	}
	all["info"] = object{
		"title": "Postbus", "version": "1.0",
		"description": "Publishes posts to social networks, exactly once or reported honestly. Connects the accounts that it posts with.",
	}
	out, err := json.MarshalIndent(all, "", "  ")
	return append(out, '\n'), err
}

// merge adds from to into, object by object.
func merge(into, from object, at string) error {
	for name, value := range from {
		old, known := into[name]
		if !known {
			into[name] = value
			continue
		}
		a, isA := old.(object)
		b, isB := value.(object)
		if isA && isB {
			if err := merge(a, b, at+"/"+name); err != nil {
				return err
			}
			continue
		}
		if !reflect.DeepEqual(old, value) {
			return fmt.Errorf("two services document %s/%s differently", at, name)
		}
	}
	return nil
}
