// Package deploy holds what projectord is deployed with, and the tests of that.
package deploy
