package devices

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"net"

	"zhizheng/internal/ca"
)

// Mosquitto is what a Mosquitto 2.0 of the county's own is set up with: devices come in by certificate under their own name, the platform
// by password. Two listeners, because a device must not choose another's client id, and the platform has several of its own.
type Mosquitto struct {
	Dir               string // where the files will be
	Devices, Platform string // host:port of the two listeners
	Password          string // the platform's
	Names             []string
	CRL               []byte
	CA                *ca.Authority
}

// PlatformUser is the platform's name at a Mosquitto that is set up by us.
const PlatformUser = "platform"

const mosquittoConf = `# Written by "zhizheng mqtt-config"; mosquitto 2.0. Reload with SIGHUP whenever crl.pem has changed.
per_listener_settings true
persistence true
persistence_location %[1]s/
# The default of half an hour is what a crash would lose: what it has acknowledged and the platform hasn't taken yet, and that the platform
# listens at all. "autosave_on_changes true" with an interval of 1 loses nothing, but writes all that waits with each message.
autosave_interval 5
# The default of 20 is what limits the rate.
max_inflight_messages 1000
# By default it drops what is beyond 1,000 waiting messages, and has acknowledged it to the device.
max_queued_messages 0
message_size_limit 65536

# Devices: who they are is in their certificate, user name and client id are taken from there.
listener %[3]s %[2]s
cafile %[1]s/ca.crt
certfile %[1]s/server.crt
keyfile %[1]s/server.key
crlfile %[1]s/crl.pem
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file %[1]s/acl

# The platform, and devices that have only a token (add them with mosquitto_passwd).
listener %[5]s %[4]s
certfile %[1]s/server.crt
keyfile %[1]s/server.key
tls_version tlsv1.2
password_file %[1]s/passwords
allow_anonymous false
acl_file %[1]s/acl
`

const mosquittoACL = `pattern write zz/v1/+/%u/up/#
pattern read zz/v1/+/%u/down/#
user ` + PlatformUser + `
topic read zz/v1/+/+/up/#
topic write zz/v1/+/+/down/#
topic readwrite zz/platform/#
`

// Files gives names and contents. Server certificates live half a year: run it again before.
func (m Mosquitto) Files() (map[string]string, error) {
	host, port, err := net.SplitHostPort(m.Devices)
	if err != nil {
		return nil, err
	}
	ownHost, ownPort, err := net.SplitHostPort(m.Platform)
	if err != nil {
		return nil, err
	}
	cert, key, err := m.CA.Server(ca.Names(m.Devices, m.Names))
	if err != nil {
		return nil, err
	}
	password, err := mosquittoHash(m.Password)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"mosquitto.conf": fmt.Sprintf(mosquittoConf, m.Dir, host, port, ownHost, ownPort),
		"acl":            mosquittoACL,
		"passwords":      PlatformUser + ":" + password + "\n",
		"ca.crt":         m.CA.Certificate(), "server.crt": cert, "server.key": key, "crl.pem": string(m.CRL),
	}, nil
}

// mosquittoHash is a line of mosquitto_passwd.
func mosquittoHash(password string) (string, error) {
	const rounds = 101 // mosquitto_passwd's own; the password is random
	salt := make([]byte, 12)
	_, _ = rand.Read(salt) // never fails since Go 1.24
	h, err := pbkdf2.Key(sha512.New, password, salt, rounds, sha512.Size)
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("$7$%d$%s$%s", rounds, b64(salt), b64(h)), err
}
