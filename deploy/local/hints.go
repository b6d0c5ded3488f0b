package main

const hints = `
It stays. Try in another terminal, or see README.md:

curl -X POST "%[1]s/api/instagram/publish" -H "Content-Type: application/json" -H "Authorization: Bearer %[2]s" -d '{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg"}'

make nats     # builds the nats CLI, once
bin/nats%[3]s sub 'publish.>'
bin/nats%[3]s pub publish.requested '{"specversion":"1.0","id":"hello-%[6]s","source":"/me","type":"publish.requested","data":{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg","caption":"Hello","provider":"instagram","userId":"demo"}}'

API docs   %[1]s/docs
Sandbox    %[4]s shows its switches, %[4]s/_sandbox/posts what was really posted
API key    %[2]s
Log        %[5]s

Ctrl-C ends everything.`

// hints says what to try next.
func (s *system) hints() {
	server := ""
	if s.natsURL != "nats://127.0.0.1:4222" { // the CLI's own default
		server = " -s " + s.natsURL
	}
	s.say(hints, s.apiURL, s.seeded.APIKey.Reveal(), server, s.sandboxURL, s.path("postbus.log"), s.started.UTC().Format("20060102T150405"))
}
