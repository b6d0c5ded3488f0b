package compose

import (
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/nats-io/nats-server/v2/server"

	"postbus.dev/services/connectors/sandbox"
)

// knows says whether a program's help names a setting.
func knows(help, name string) bool {
	if strings.Contains(help, "POSTBUS_SANDBOX_CA_FILE") { // there flags are settings
		flag, ours := strings.CutPrefix(name, "POSTBUS_SANDBOX_")
		return ours && strings.Contains(help, "  -"+strings.ReplaceAll(strings.ToLower(flag), "_", "-")+" ")
	}
	if provider := regexp.MustCompile(`^[A-Z]+(_CLIENT_(?:ID|SECRET))$`).FindStringSubmatch(name); provider != nil {
		name = "<PROVIDER>" + provider[1]
	}
	return slices.Contains(strings.Fields(help), name)
}

func TestEverySettingIsOneThatItsProgramKnows(t *testing.T) {
	t.Parallel()
	for name, s := range load(t).Services {
		folder := command(s)
		if folder == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			help, err := exec.Command(build(t, folder), append(slices.Clone([]string(s.Command)), "--help")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			if knows(string(help), "POSTBUS_SANDBOX_ADRR") || knows(string(help), "DATABASE") {
				t.Error("it knows everything")
			}
			for setting := range settings(s) {
				if !knows(string(help), setting) {
					t.Errorf("it knows no %s:\n%s", setting, help)
				}
			}
		})
	}
}

func TestNothingIsReachableFromElsewhereOrMayDoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	p := load(t)
	open := map[string]bool{"gateway": true, "sandbox": true, "nats": true}
	for name, s := range p.Services {
		if len(s.Ports) > 0 != open[name] {
			t.Errorf("%s has ports %v", name, s.Ports)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s listens on %s", name, port.HostIP)
			}
		}
		if !s.ReadOnly || s.Privileged || s.NetworkMode != "" || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 ||
			!slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) {
			t.Errorf("%s may do more than it needs: %v %v %v", name, s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
		for _, v := range s.Volumes {
			if v.Source == "keys" && v.ReadOnly == (name == "keyset") || v.Type == types.VolumeTypeBind && !v.ReadOnly {
				t.Errorf("%s: %s read-only %v", name, v.Source, v.ReadOnly)
			}
		}
		// The other images have a user of their own.
		if root := s.Build == nil && s.User != "postgres"; root != (name == "nats") || s.Build != nil && s.User != "" {
			t.Errorf("%s runs as %q", name, s.User)
		}
	}
	if s := p.Services["publisher"]; s.ContainerName != "" || len(s.Ports) > 0 {
		t.Error("there cannot be two publishers")
	}
}

func TestEachServiceWaitsForWhatItNeeds(t *testing.T) {
	t.Parallel()
	p := load(t)
	want := map[string][]string{
		"postgres": nil, "nats": nil, "sandbox": nil, "keyset": nil, "migrate": {"postgres"},
		"account": {"keyset", "migrate", "nats"}, "publisher": {"keyset", "migrate", "nats"}, "token-refresher": {"keyset", "migrate", "nats"},
		"gateway": {"account", "publisher"},
	}
	if len(p.Services) != len(want) {
		t.Errorf("services: %v", p.ServiceNames())
	}
	for name, s := range p.Services {
		if got := s.GetDependencies(); !slices.Equal(slices.Sorted(slices.Values(got)), want[name]) {
			t.Errorf("%s waits for %v", name, got)
		}
		for on, how := range s.DependsOn {
			condition := types.ServiceConditionHealthy
			if oneShot(p.Services[on]) {
				condition = types.ServiceConditionCompletedSuccessfully
			}
			if how.Condition != condition || !how.Required {
				t.Errorf("%s waits for %s: %+v", name, on, how)
			}
		}
		if oneShot(s) != (name == "migrate" || name == "keyset") || oneShot(s) != (s.HealthCheck == nil) {
			t.Errorf("%s: restart %q, health check %v", name, s.Restart, s.HealthCheck)
		}
	}
}

// The test of the processes cannot run these two images.
func TestTheServersAreTheOnesThatWeTestWith(t *testing.T) {
	t.Parallel()
	p := load(t)
	if got, want := p.Services["nats"].Image, "nats:"+server.VERSION+"-alpine"; got != want {
		t.Errorf("%s, and go.mod has %s", got, want)
	}
	bus := p.Services["nats"]
	if o := natsOptions(t); bus.Volumes[0].Target != bus.Command[1] || bus.Volumes[1].Target != o.StoreDir || int(bus.Ports[0].Target) != o.Port ||
		!strings.HasSuffix(bus.HealthCheck.Test[len(bus.HealthCheck.Test)-1], ":"+strconv.Itoa(o.HTTPPort)+"/healthz") {
		t.Errorf("its configuration is of another server: %v %v %v", bus.Command, bus.Volumes, bus.HealthCheck.Test)
	}
	db := p.Services["postgres"]
	major, err := strconv.Atoi(strings.TrimPrefix(db.Image, "postgres:"))
	if err != nil || major < 18 || db.Volumes[0].Target != "/var/lib/postgresql" { // until 17 it was .../data
		t.Errorf("%s with %v", db.Image, db.Volumes)
	}
	if len(db.Command) > 0 || settings(db)["POSTGRES_INITDB_ARGS"] != "" || settings(db)["POSTGRES_HOST_AUTH_METHOD"] != "" {
		t.Errorf("PostgreSQL is told more than it has to be: %v", db.Command)
	}
}

func TestByDefaultTheProviderIsTheStandIn(t *testing.T) {
	t.Parallel()
	stand, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer stand.Close()
	p := load(t)
	account, publisher, refresher := settings(p.Services["account"]), settings(p.Services["publisher"]), settings(p.Services["token-refresher"])
	for name, want := range stand.Settings("http://sandbox:4010", account["POSTBUS_PUBLIC_URL"]) {
		if strings.HasSuffix(name, "_AUTHORIZE_URL") { // that is for a browser
			u, err := url.Parse(want)
			if err != nil {
				t.Fatal(err)
			}
			u.Host = "localhost:4010"
			want = u.String()
		}
		if account[name] != want {
			t.Errorf("account: %s=%s, want %s", name, account[name], want)
		}
		if strings.HasSuffix(name, "_BASE_URL") && publisher[name] != want {
			t.Errorf("publisher: %s=%s, want %s", name, publisher[name], want)
		}
		if !strings.Contains(name, "_AUTHORIZE_") && !strings.HasSuffix(name, "INSTAGRAM_TOKEN_URL") && refresher[name] != want {
			t.Errorf("token-refresher: %s=%s, want %s", name, refresher[name], want)
		}
	}
	port := p.Services["sandbox"].Ports[0]
	if port.Published != "4010" || port.Target != 4010 || p.Services["gateway"].Ports[0].Published != "3000" {
		t.Errorf("published: %v", port)
	}
	if got := settings(p.Services["sandbox"])["POSTBUS_SANDBOX_PUBLIC_URL"]; got != account["POSTBUS_PUBLIC_URL"] || got != "http://localhost:3000" {
		t.Errorf("browsers reach it at %s", got)
	}
}

// What the comment in compose.yaml says of another provider and of passwords is
// all that it takes.
func TestSettingsReachTheirServices(t *testing.T) {
	t.Parallel()
	p := load(t, "INSTAGRAM_CLIENT_ID=id", "INSTAGRAM_CLIENT_SECRET=secret", "INSTAGRAM_BASE_URL=", "INSTAGRAM_AUTHORIZE_URL=", "INSTAGRAM_TOKEN_URL=",
		"POSTBUS_PUBLIC_URL=https://postbus.example", "POSTGRES_PASSWORD=pg", "POSTBUS_ACCOUNT_PASSWORD=acc", "POSTBUS_PUBLISHER_PASSWORD=pub",
		"POSTBUS_REFRESHER_PASSWORD=ref")
	for service, want := range map[string]map[string]string{
		"account": {
			"INSTAGRAM_CLIENT_ID": "id", "INSTAGRAM_CLIENT_SECRET": "secret", "INSTAGRAM_BASE_URL": "", "INSTAGRAM_AUTHORIZE_URL": "", "INSTAGRAM_TOKEN_URL": "",
			"POSTBUS_PUBLIC_URL": "https://postbus.example", "PGPASSWORD": "acc",
		},
		"publisher":       {"INSTAGRAM_BASE_URL": "", "PGPASSWORD": "pub"},
		"token-refresher": {"INSTAGRAM_BASE_URL": "", "INSTAGRAM_CLIENT_ID": "id", "INSTAGRAM_CLIENT_SECRET": "secret", "PGPASSWORD": "ref"},
		"keyset":          {"PGPASSWORD": "acc"},
		"migrate": {
			"PGPASSWORD": "pg", "POSTBUS_ACCOUNT_PASSWORD": "acc", "POSTBUS_PUBLISHER_PASSWORD": "pub", "POSTBUS_REFRESHER_PASSWORD": "ref",
		},
		"postgres": {"POSTGRES_PASSWORD": "pg"},
		"sandbox":  {"POSTBUS_SANDBOX_PUBLIC_URL": "https://postbus.example"},
	} {
		for name, value := range want {
			if got, there := settings(p.Services[service])[name]; got != value || !there {
				t.Errorf("%s: %s is %q", service, name, got)
			}
		}
	}
}
