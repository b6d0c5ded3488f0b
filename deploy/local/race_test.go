//go:build race

package main

// What tests build is built as they are: what they share with them is compiled.
const goFlags = "-race"
