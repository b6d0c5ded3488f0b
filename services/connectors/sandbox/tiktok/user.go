package tiktok

import (
	"net/http"
	"slices"
	"strings"

	"postbus.dev/services/connectors/sandbox/stage"
)

const (
	basicScope   = "user.info.basic"
	profileScope = "user.info.profile"
	publishScope = "video.publish"
)

// offered are the permissions that an app can ask for.
func offered() []string {
	return []string{basicScope, profileScope, "user.info.stats", publishScope, "video.upload", "video.list"}
}

// admit checks the token of an API call, and that it covers the scopes.
func (tk *TikTok) admit(c *call, scopes ...string) *stage.Answer {
	refuse := func(code, message string) *stage.Answer {
		a := tk.fail(http.StatusUnauthorized, code, message)
		return &a
	}
	t, ok := tk.st.Accounts.Token(Name, c.token)
	if !ok || t.Kind != "access" || t.Expired() || t.Dead != nil {
		return refuse("access_token_invalid", "The access token is invalid or not found in the request.")
	}
	tk.saw(t)
	for _, s := range scopes {
		if !slices.Contains(t.Scopes, s) {
			return refuse("scope_not_authorized", "The user did not authorize the scope required for completing this request.")
		}
	}
	if wrong := tk.checkUnknown(c); wrong != "" {
		a := tk.fail(http.StatusBadRequest, "invalid_params", wrong)
		return &a
	}
	return nil
}

// userInfo is GET /v2/user/info/.
func userInfo(tk *TikTok, c *call) stage.Answer {
	scopes, user := []string{basicScope}, map[string]any{}
	all := map[string]string{
		"open_id": c.account.ID, "union_id": c.account.AppID, "display_name": c.account.Name, "username": c.account.Username,
		"avatar_url": "https://p16-sign.tiktokcdn.com/" + c.account.Username,
	}
	for _, field := range strings.FieldsFunc(c.params["fields"], func(r rune) bool { return r == ',' }) {
		value, ok := all[field]
		if !ok {
			return tk.fail(http.StatusBadRequest, "invalid_params", "Fields are invalid: "+field)
		}
		if field == "username" {
			scopes = append(scopes, profileScope)
		}
		user[field] = value
	}
	if refused := tk.admit(c, scopes...); refused != nil {
		return *refused
	}
	if len(user) == 0 {
		return tk.fail(http.StatusBadRequest, "invalid_params", "Fields is required")
	}
	return tk.ok(map[string]any{"user": user})
}

// creatorInfo is POST /v2/post/publish/creator_info/query/.
func creatorInfo(tk *TikTok, c *call) stage.Answer {
	if refused := tk.admit(c, publishScope); refused != nil {
		return *refused
	}
	return tk.ok(map[string]any{
		"creator_avatar_url": "https://p16-sign.tiktokcdn.com/" + c.account.Username, "creator_username": c.account.Username,
		"creator_nickname": c.account.Name, "privacy_level_options": []string{"PUBLIC_TO_EVERYONE", "MUTUAL_FOLLOW_FRIENDS", "SELF_ONLY"},
		"comment_disabled": false, "duet_disabled": false, "stitch_disabled": false, "max_video_post_duration_sec": 300,
	})
}
