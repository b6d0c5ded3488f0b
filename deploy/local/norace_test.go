//go:build !race

package main

const goFlags = ""
