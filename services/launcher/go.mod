module github.com/litci/litci/services/launcher

go 1.26.0

require github.com/litci/litci/pkg v0.0.0

replace github.com/litci/litci/pkg => ../../pkg
