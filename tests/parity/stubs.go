package main

import "encoding/json"

func admit(objects []json.RawMessage) ([]json.RawMessage, []Rejection) { return objects, nil }
func selfCheckCase(c *Case) *Answer                                    { return nil }
func benchCase(c *Case, parallelism, repeat int) *Answer               { return nil }
