// A connectivity service by ThingsPanel's own SDK for Go, against a platform of ours. It is built in a temporary
// folder, where the Go client fetches the SDK (AGPL-3.0), which is not part of this project.
//
// usage: go_sdk HTTP_BASE MQTT_BROKER LISTEN
//
// Writes one line for each thing it does ("did WHAT: RESULT") and for each call of the platform ("called WHAT").
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	sdk "github.com/ThingsPanel/tp-protocol-sdk-go"
	"github.com/ThingsPanel/tp-protocol-sdk-go/api"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

func did(what string, result interface{}, err error) {
	if err != nil {
		fmt.Printf("did %s: error %v\n", what, err)
		return
	}
	text, _ := json.Marshal(result)
	fmt.Printf("did %s: %s\n", what, text)
}

func answer(w http.ResponseWriter, data interface{}) {
	text, _ := json.Marshal(map[string]interface{}{"code": 200, "message": "success", "data": data})
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

func body(r *http.Request) string {
	text, _ := io.ReadAll(r.Body)
	return string(text)
}

func serve(listen string) {
	h := sdk.Handler{
		OnGetForm: func(w http.ResponseWriter, r *http.Request) {
			// As the services that index the query without looking do.
			q := r.URL.Query()
			fmt.Printf("called form %s/%s/%s\n", q["protocol_type"][0], q["device_type"][0], q["form_type"][0])
			answer(w, []map[string]string{{"dataKey": "reg_pkg", "type": "input"}})
		},
		OnDisconnectDevice: func(w http.ResponseWriter, r *http.Request) {
			fmt.Printf("called disconnect %s\n", body(r))
			answer(w, nil)
		},
		GetDeviceList: func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			fmt.Printf("called list %s %s %s\n", q["voucher"][0], q["page"][0], q["page_size"][0])
			answer(w, map[string]interface{}{"total": 1, "list": []map[string]string{{"device_number": "n-1"}}})
		},
		OnNotifyEvent: func(w http.ResponseWriter, r *http.Request) {
			fmt.Printf("called notify %s\n", body(r))
			answer(w, nil)
		},
	}
	did("serve", nil, h.ListenAndServe(listen))
}

func wrapped(device string, payload string) string {
	text, _ := json.Marshal(map[string]interface{}{"device_id": device, "values": []byte(payload)})
	return string(text)
}

func speak(broker string) {
	c := sdk.NewMQTTClient(broker, "plugin", "plugin")
	did("connect", "ok", c.Connect())
	did("subscribe", "ok", c.Subscribe("plugin/meter/#", func(_ mqtt.Client, m mqtt.Message) {
		fmt.Printf("called mqtt %s %s\n", m.Topic(), m.Payload())
		level := strings.Split(m.Topic(), "/")
		if len(level) == 6 && level[3] == "command" {
			go func() {
				reply := wrapped(level[4], `{"result":0,"message":"success"}`)
				did("answer", "ok", c.Publish("devices/command/response/"+level[5], reply, 1))
			}()
		}
	}, 1))
	did("status", "ok", c.SendStatus("m-1", "1"))
	did("telemetry", "ok", c.Publish("devices/telemetry", wrapped("m-1", `{"energy":42.5}`), 1))
	object := `{"device_id":"s-1","values":"` + base64.StdEncoding.EncodeToString([]byte(`{"energy":1.5}`)) + `"}`
	did("sub-device", "ok", c.Publish("devices/telemetry", object, 1))
}

func main() {
	a := sdk.NewClient(os.Args[1]).API
	go serve(os.Args[3])
	time.Sleep(100 * time.Millisecond)
	beat, err := a.Heartbeat(api.HeartbeatRequest{ServiceIdentifier: "METER"})
	did("heartbeat", beat, err)
	config, err := a.GetDeviceConfig(api.DeviceConfigRequest{Voucher: `{"reg_pkg":"M-1"}`})
	did("config", config, err)
	config, err = a.GetDeviceConfig(api.DeviceConfigRequest{Voucher: `{"reg_pkg":"M-1"}`})
	did("limited", config, err)
	config, err = a.GetDeviceConfig(api.DeviceConfigRequest{DeviceID: "hub-1"})
	did("hub", config, err)
	points, err := a.GetServiceAccessList(api.ServiceAccessListRequest{ServiceIdentifier: "CLOUD"})
	did("access-list", points, err)
	point, err := a.GetServiceAccess(api.ServiceAccessRequest{ServiceAccessID: "ap-1"})
	did("access", point, err)
	speak(os.Args[2])
	fmt.Println("ready")
	_, _ = io.ReadAll(os.Stdin)
}
