package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
)

// defaultConfig is what a case without a configuration runs under: upstream's defaults, every node looked at.
const defaultConfig = `{"apiVersion":"kubescheduler.config.k8s.io/v1","kind":"KubeSchedulerConfiguration",` +
	`"percentageOfNodesToScore":100,"profiles":[{"schedulerName":"my-scheduler"}]}`

// configCacheSize bounds the number of decoded configurations that are kept for the next case with the same text.
const configCacheSize = 256

var decodedConfigs = struct {
	sync.Mutex
	byText map[string]*config.KubeSchedulerConfiguration
}{byText: map[string]*config.KubeSchedulerConfiguration{}}

// loadConfig decodes strictly, defaults and validates, as kube-scheduler does with --config.
// The result is shared between cases and must not be changed.
func loadConfig(raw json.RawMessage) (*config.KubeSchedulerConfiguration, error) {
	text, err := configText(raw)
	if err != nil {
		return nil, err
	}
	decodedConfigs.Lock()
	cfg, ok := decodedConfigs.byText[text]
	decodedConfigs.Unlock()
	if ok {
		return cfg, nil
	}
	if cfg, err = decodeConfig([]byte(text)); err != nil {
		return nil, err
	}
	if err := validation.ValidateKubeSchedulerConfiguration(cfg); err != nil {
		return nil, err
	}
	decodedConfigs.Lock()
	defer decodedConfigs.Unlock()
	if len(decodedConfigs.byText) >= configCacheSize {
		clear(decodedConfigs.byText)
	}
	decodedConfigs.byText[text] = cfg
	return cfg, nil
}

func configText(raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || bytes.Equal(raw, []byte("null")):
		return defaultConfig, nil
	case raw[0] == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", err
		}
		return text, nil
	default:
		return string(raw), nil
	}
}

// decodeConfig is kube-scheduler's own loading of a configuration file (cmd/kube-scheduler/app/options).
func decodeConfig(data []byte) (*config.KubeSchedulerConfiguration, error) {
	obj, gvk, err := scheme.Codecs.UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	cfg, ok := obj.(*config.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("couldn't decode as KubeSchedulerConfiguration, got %s: ", gvk)
	}
	cfg.TypeMeta.APIVersion = gvk.GroupVersion().String()
	return cfg, nil
}

// ConfigVerdict is the answer of mode -config-check to one line.
type ConfigVerdict struct {
	OK bool `json:"ok"`
	// Stage is where the configuration failed: decode, validate or build (plugins and their arguments).
	Stage string `json:"stage,omitempty"`
	Error string `json:"error,omitempty"`
	// Errors are the single messages of Error where there are several.
	Errors []string `json:"errors,omitempty"`
	// Profiles are the plugins of each profile as the framework runs them.
	Profiles []ProfileVerdict `json:"profiles,omitempty"`
}

// ProfileVerdict shows what a profile amounts to after defaulting and multiPoint expansion.
type ProfileVerdict struct {
	SchedulerName string                     `json:"schedulerName"`
	Plugins       map[string][]PluginWeight  `json:"plugins"`
	PluginConfig  map[string]json.RawMessage `json:"pluginConfig"`
}

// PluginWeight is a plugin at an extension point; the weight is that of Score.
type PluginWeight struct {
	Name   string `json:"name"`
	Weight int32  `json:"weight,omitempty"`
}

func checkConfig(raw json.RawMessage) ConfigVerdict {
	text, err := configText(raw)
	if err != nil {
		return ConfigVerdict{Stage: "decode", Error: err.Error()}
	}
	cfg, err := decodeConfig([]byte(text))
	if err != nil {
		return failedConfig("decode", err)
	}
	if err := validation.ValidateKubeSchedulerConfiguration(cfg); err != nil {
		return failedConfig("validate", err)
	}
	cluster, err := newCluster(cfg, newStaticFactory())
	if err != nil {
		return failedConfig("build", err)
	}
	defer cluster.close()
	verdict := ConfigVerdict{OK: true}
	for i := range cfg.Profiles {
		name := cfg.Profiles[i].SchedulerName
		arguments, err := pluginArguments(&cfg.Profiles[i])
		if err != nil {
			return failedConfig("build", err)
		}
		verdict.Profiles = append(verdict.Profiles, ProfileVerdict{
			SchedulerName: name,
			Plugins:       pluginsByPoint(cluster.frameworks[name].ListPlugins()),
			PluginConfig:  arguments,
		})
	}
	return verdict
}

func failedConfig(stage string, err error) ConfigVerdict {
	verdict := ConfigVerdict{Stage: stage, Error: err.Error()}
	var aggregate interface{ Errors() []error }
	if errors.As(err, &aggregate) {
		for _, one := range aggregate.Errors() {
			verdict.Errors = append(verdict.Errors, one.Error())
		}
	}
	return verdict
}

func pluginsByPoint(plugins *config.Plugins) map[string][]PluginWeight {
	points := map[string][]PluginWeight{}
	for point, set := range map[string]config.PluginSet{
		"preEnqueue": plugins.PreEnqueue, "queueSort": plugins.QueueSort, "preFilter": plugins.PreFilter,
		"filter": plugins.Filter, "postFilter": plugins.PostFilter, "preScore": plugins.PreScore, "score": plugins.Score,
		"reserve": plugins.Reserve, "permit": plugins.Permit, "preBind": plugins.PreBind, "bind": plugins.Bind,
		"postBind": plugins.PostBind,
	} {
		list := []PluginWeight{}
		for _, plugin := range set.Enabled {
			list = append(list, PluginWeight{Name: plugin.Name, Weight: plugin.Weight})
		}
		points[point] = list
	}
	return points
}

// pluginArguments are the arguments of a profile's plugins in the form of a configuration file.
func pluginArguments(profile *config.KubeSchedulerProfile) (map[string]json.RawMessage, error) {
	arguments := map[string]json.RawMessage{}
	for _, pluginConfig := range profile.PluginConfig {
		text, err := runtime.Encode(scheme.Codecs.LegacyCodec(configv1.SchemeGroupVersion), pluginConfig.Args)
		if err != nil {
			return nil, err
		}
		arguments[pluginConfig.Name] = bytes.TrimSpace(text)
	}
	return arguments, nil
}
