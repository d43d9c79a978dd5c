package cpihub_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	cpihub "cpi-hub/sdk/go"
)

func connect() *cpihub.Client {
	client, err := cpihub.New(cpihub.Options{URL: os.Getenv("HUB_URL"), Key: os.Getenv("HUB_KEY")})
	if err != nil {
		log.Fatal(err)
	}
	return client
}

func ExampleClient_Say() {
	client := connect()
	said, err := client.Say(context.Background(), 1, cpihub.Post{
		UserID: 7, Username: "Ana Paz", Content: "hola",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(said.Content, len(said.ID), said.Stored)
	// Output: hola 26 true
}

// A program that may die between saying something and noting that it did names the key itself, and
// says the same again when it is back.
func ExampleClient_Say_once() {
	client := connect()
	post := cpihub.Post{UserID: 7, Username: "Tienda", Content: "pedido 17", Key: "order-17"}
	for attempt := 1; attempt <= 2; attempt++ {
		said, err := client.Say(context.Background(), 1, post)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(said.Content, said.Replayed)
	}
	// Output:
	// pedido 17 false
	// pedido 17 true
}

func ExampleError() {
	client := connect()
	_, err := client.Say(context.Background(), 1, cpihub.Post{UserID: 7, Username: "Ana Paz"})
	var failed *cpihub.Error
	switch {
	case errors.Is(err, cpihub.RateLimited):
		fmt.Println("later")
	case errors.As(err, &failed):
		fmt.Println(failed.Code, failed.Field)
	}
	// Output: invalid_parameter message
}

func ExampleClient_Messages() {
	client, ctx := connect(), context.Background()
	for _, content := range []string{"uno", "dos", "tres"} {
		post := cpihub.Post{UserID: 7, Username: "Ana Paz", Content: content}
		if _, err := client.Say(ctx, 2, post); err != nil {
			log.Fatal(err)
		}
	}
	messages := client.Messages(2, cpihub.Range{})
	for messages.Next(ctx) {
		fmt.Println(messages.Message().Username, messages.Message().Content)
	}
	if err := messages.Err(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// Ana Paz uno
	// Ana Paz dos
	// Ana Paz tres
}

func ExampleClient_Search() {
	client, ctx := connect(), context.Background()
	for _, content := range []string{"un café", "un té", "otro CAFE"} {
		post := cpihub.Post{UserID: 7, Username: "Ana Paz", Content: content}
		if _, err := client.Say(ctx, 4, post); err != nil {
			log.Fatal(err)
		}
	}
	found, err := client.Search(ctx, 4, cpihub.Query{Text: "cafe"})
	if err != nil {
		log.Fatal(err)
	}
	for _, message := range found.Messages {
		fmt.Println(message.Content)
	}
	fmt.Println("more:", found.HasMore, "complete:", found.Complete)
	// Output:
	// otro CAFE
	// un café
	// more: false complete: true
}

func ExampleClient_Notify() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	delivered, err := connect().Notify(ctx, 7, cpihub.Notification{
		Data: map[string]any{"type": "reaction", "entity_type": "post", "entity_id": 31},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sockets:", delivered)
	// Output: sockets: 0
}

func ExampleClient_Presence() {
	presence, err := connect().Presence(context.Background(), 3)
	if err != nil {
		log.Fatal(err)
	}
	for _, user := range presence.Users {
		fmt.Println(user.Username, user.Connections)
	}
	fmt.Println("members:", presence.Members)
	// Output: members: 0
}
