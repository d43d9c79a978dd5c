package cpihub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	cpihub "cpi-hub/sdk/go"
)

// built is where `cargo build` leaves a hub; HUB_BINARY names another one.
const built = "../../target/debug/cpi-hub"

// process is a hub of the tests' own, which asks who is who.
type process struct {
	command *exec.Cmd
	url     string
	folder  string
	binary  string
	key     string
	log     bytes.Buffer
}

// running is the hub that all tests and examples speak to, but those that restart one.
var running *process

func TestMain(m *testing.M) {
	os.Exit(func() int {
		hub, err := start()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer hub.remove()
		running = hub
		// As the programs of the examples are started.
		os.Setenv("HUB_URL", hub.url)
		os.Setenv("HUB_KEY", hub.key)
		return m.Run()
	}())
}

func start() (*process, error) {
	binary := os.Getenv("HUB_BINARY")
	if binary == "" {
		binary = built
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("no hub (cargo build, or set HUB_BINARY): %w", err)
	}
	folder, err := os.MkdirTemp("", "cpi-hub-go-")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	listener.Close()
	hub := &process{binary: binary, folder: folder, url: "http://" + listener.Addr().String()}
	make := exec.Command(binary, "key", "new", "--name", "tests", "--scope",
		"say,read,notify,kick,operate")
	make.Env = []string{}
	made, err := make.Output()
	if err != nil {
		return nil, err
	}
	lines := []string{}
	for _, line := range strings.Split(string(made), "\n") {
		if strings.HasPrefix(line, "hubkey_") {
			hub.key = line
		} else {
			lines = append(lines, line)
		}
	}
	keys := []byte(strings.Join(lines, "\n"))
	if err := os.WriteFile(filepath.Join(folder, "keys"), keys, 0o600); err != nil {
		return nil, err
	}
	return hub, hub.begin()
}

func (hub *process) begin() error {
	hub.command = exec.Command(hub.binary, "serve", "--pinned", "false", "--log", "warn",
		"--listen", strings.TrimPrefix(hub.url, "http://"), "--data-dir",
		filepath.Join(hub.folder, "data"), "--api-keys-file", filepath.Join(hub.folder, "keys"),
		"--drain-window", "300ms", "--close-wait", "500ms", "--search")
	hub.command.Env = []string{"HUB_JWT_SECRET=" + strings.Repeat("secret", 6)}
	hub.command.Stdout, hub.command.Stderr = &hub.log, &hub.log
	if err := hub.command.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		response, err := http.Get(hub.url + "/readyz")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	hub.end(syscall.SIGKILL)
	return fmt.Errorf("the hub is not ready after 30 s: %s", hub.log.String())
}

func (hub *process) end(signal os.Signal) {
	hub.command.Process.Signal(signal)
	hub.command.Wait()
}

func (hub *process) remove() {
	hub.end(syscall.SIGKILL)
	os.RemoveAll(hub.folder)
}

// token is one of a user's, as the hub's own tool makes it.
func (hub *process) token(t *testing.T, userID int) string {
	t.Helper()
	command := exec.Command(hub.binary, "token", "--user", fmt.Sprint(userID))
	command.Env = hub.command.Env
	made, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(made))
}

func (hub *process) client(t *testing.T, key string) *cpihub.Client {
	t.Helper()
	client, err := cpihub.New(cpihub.Options{URL: hub.url, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func contents(t *testing.T, client *cpihub.Client, space int, within cpihub.Range) []string {
	t.Helper()
	found := []string{}
	messages := client.Messages(space, within)
	for messages.Next(patience(t)) {
		found = append(found, messages.Message().Content)
	}
	if err := messages.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestWhatIsSaidIsStoredAndReadBack(t *testing.T) {
	client, ctx := running.client(t, running.key), patience(t)
	for i := 0; i < 7; i++ {
		post := cpihub.Post{UserID: 7, Username: "Ana", Content: fmt.Sprint(i), NoWait: i > 0}
		said, err := client.Say(ctx, 11, post)
		if err != nil || said.SpaceID != 11 || said.Replayed || said.ID == "" {
			t.Fatal(said, err)
		}
		if i == 0 && !said.Stored || time.Since(said.Timestamp) > time.Minute {
			t.Error(said)
		}
	}
	last := cpihub.Post{UserID: 7, Username: "Ana", Content: "last", Key: "k1"}
	first, err := client.Say(ctx, 11, last)
	if err != nil {
		t.Fatal(err)
	}
	again, err := client.Say(ctx, 11, last)
	if err != nil || again.ID != first.ID || !again.Replayed || first.Replayed {
		t.Fatal(first, again, err)
	}
	last.Content = "other"
	if _, err := client.Say(ctx, 11, last); !errors.Is(err, cpihub.NonceReused) {
		t.Error(err)
	}
	forward := contents(t, client, 11, cpihub.Range{Limit: 3})
	if strings.Join(forward, " ") != "0 1 2 3 4 5 6 last" {
		t.Error(forward)
	}
	back := contents(t, client, 11, cpihub.Range{Limit: 3, NewestFirst: true})
	if strings.Join(back, " ") != "last 6 5 4 3 2 1 0" {
		t.Error(back)
	}
	page, err := client.History(ctx, 11, cpihub.Range{Limit: 2})
	if err != nil || !page.HasMore || len(page.Messages) != 2 || page.Messages[1].ID != first.ID {
		t.Error(page, err)
	}
}

func TestEachRefusalOfTheHubsHasItsCode(t *testing.T) {
	ctx := patience(t)
	client := running.client(t, running.key)
	own := running.client(t, running.token(t, 7))
	say := func(client *cpihub.Client, post cpihub.Post) error {
		_, err := client.Say(ctx, 12, post)
		return err
	}
	_, notified := own.Notify(ctx, 7, cpihub.Notification{Data: map[string]int{}})
	_, noObject := client.Notify(ctx, 7, cpihub.Notification{Data: 3})
	_, badRange := client.History(ctx, 12, cpihub.Range{After: "nowhere"})
	for i, row := range []struct {
		err  error
		code cpihub.Code
	}{
		{say(client, cpihub.Post{UserID: 7, Username: "Ana"}), cpihub.InvalidParameter},
		{say(client, cpihub.Post{UserID: 7, Username: "Ana", Content: "\x00"}), cpihub.ContentInvalid},
		{say(client, cpihub.Post{UserID: 7, Username: "Ana", Content: strings.Repeat("ñ", 1001)}),
			cpihub.ContentTooLong},
		{say(own, cpihub.Post{UserID: 8, Username: "Ana", Content: "a"}), cpihub.Forbidden},
		{say(running.client(t, "hubkey_wrong"), cpihub.Post{}), cpihub.Unauthorized},
		{notified, cpihub.Forbidden},
		{noObject, cpihub.InvalidParameter},
		{badRange, cpihub.InvalidParameter},
	} {
		if !errors.Is(row.err, row.code) {
			t.Errorf("row %d: %v, expected %v", i, row.err, row.code)
		}
	}
	if err := say(own, cpihub.Post{UserID: 7, Username: "Ana", Content: "mine"}); err != nil {
		t.Error(err)
	}
}

func TestOperatorsSeeCloseAndCallBack(t *testing.T) {
	client, ctx := running.client(t, running.key), patience(t)
	member := func() {
		request, _ := http.NewRequest(http.MethodGet, running.url+
			"/v1/ws/spaces/13?user_id=7&username=Ana&token="+running.token(t, 7), nil)
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
			"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
		} {
			request.Header.Set(name, value)
		}
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(response, err)
		}
		t.Cleanup(func() { response.Body.Close() })
	}
	member()
	presence, err := client.Presence(ctx, 13)
	if err != nil || presence.Members != 1 || presence.Users[0].Username != "Ana" {
		t.Fatal(presence, err)
	}
	spaces, total, err := client.Spaces(ctx, 10)
	if err != nil || total != 1 || spaces[0] != (cpihub.Space{SpaceID: 13, Members: 1}) {
		t.Error(spaces, total, err)
	}
	if closed, err := client.Kick(ctx, 13, 7); err != nil || closed != 1 {
		t.Error(closed, err)
	}
	if closed, err := client.Kick(ctx, 13, 7); err != nil || closed != 0 {
		t.Error(closed, err)
	}
	member()
	revoked, err := client.Revoke(ctx, cpihub.Revocation{
		UserID: 7, Until: time.Now().Add(2 * time.Hour),
	})
	if err != nil || revoked != 1 {
		t.Error(revoked, err)
	}
	delivered, err := client.Notify(ctx, 7, cpihub.Notification{
		Data: map[string]any{"id": 1}, Type: "event", At: time.Now(),
	})
	if err != nil || delivered != 0 {
		t.Error(delivered, err)
	}
}

func TestARestartInTheMidstOfTalkLosesAndRepeatsNothing(t *testing.T) {
	hub, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hub.remove)
	client, ctx := hub.client(t, hub.key), patience(t)
	const talkers, each = 4, 25
	done := make(chan error, talkers)
	for talker := 1; talker <= talkers; talker++ {
		go func(talker int) {
			for i := 0; i < each; i++ {
				post := cpihub.Post{UserID: talker, Username: "T", Content: fmt.Sprintf("%d %d", talker, i)}
				if _, err := client.Say(ctx, 1, post); err != nil {
					done <- fmt.Errorf("%s: %w", post.Content, err)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			done <- nil
		}(talker)
	}
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		time.Sleep(100 * time.Millisecond)
		hub.end(signal)
		if err := hub.begin(); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < talkers; i++ {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	next := map[int]int{}
	found := contents(t, client, 1, cpihub.Range{})
	for _, content := range found {
		var talker, i int
		if _, err := fmt.Sscanf(content, "%d %d", &talker, &i); err != nil || next[talker] != i {
			t.Fatalf("%s, expected %d", content, next[talker])
		}
		next[talker]++
	}
	if len(found) != talkers*each {
		t.Error(len(found))
	}
}
