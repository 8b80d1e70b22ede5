package config

import (
	"fmt"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Logger writes to standard error in the configured level and format.
func (c *Config) Logger() (*zap.Logger, error) {
	min, err := level(c.LogLevel)
	if err != nil {
		return nil, err
	}
	z := zap.NewProductionConfig()
	z.Level = zap.NewAtomicLevelAt(min)
	z.Sampling = nil
	z.DisableStacktrace = true
	z.DisableCaller = true
	z.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	z.EncoderConfig.TimeKey = "time"
	if c.LogFormat == "console" {
		z.Encoding = "console"
		z.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
	}
	return z.Build()
}

func level(text string) (zapcore.Level, error) {
	l, err := zapcore.ParseLevel(text)
	if err != nil || l > zapcore.ErrorLevel {
		return l, fmt.Errorf("%q is none of debug, info, warn, error", text)
	}
	return l, nil
}
