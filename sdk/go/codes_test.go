package cpihub

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"sort"
	"strings"
	"testing"
)

// declared are the values of the constants of type Code, up to the package's own.
func declared(t *testing.T) []string {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := []string{}
	for _, group := range file.Decls {
		constants, isConstants := group.(*ast.GenDecl)
		if !isConstants || constants.Tok != token.CONST {
			continue
		}
		for _, spec := range constants.Specs {
			value := spec.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value
			codes = append(codes, strings.Trim(value, `"`))
		}
	}
	return codes
}

func TestEachCodeOfTheHubsIsAConstant(t *testing.T) {
	page, err := os.ReadFile("../../docs/CODES.md")
	if err != nil {
		t.Fatal(err)
	}
	refusals := strings.Split(string(page), "\n## ")[1]
	expected := []string{string(Unexpected), string(UnknownOutcome), string(Unreachable)}
	for _, heading := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(refusals, -1) {
		expected = append(expected, heading[1])
	}
	found := declared(t)
	sort.Strings(expected)
	sort.Strings(found)
	if len(expected) < 20 || strings.Join(found, "\n") != strings.Join(expected, "\n") {
		t.Errorf("declared %v, expected %v", found, expected)
	}
}
