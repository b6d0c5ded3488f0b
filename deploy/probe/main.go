// Command probe asks a URL once and says with its exit code whether the answer
// was 200. It is the health check inside the images, which have no shell and no
// other program.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: probe URL")
		os.Exit(2)
	}
	if err := ask(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func ask(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(url) //nolint:noctx // the client's time is all that there is
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return nil
}
