// Command render does what `helm template` and `helm lint` do with a chart, by Helm's own packages. It reads a request from
// standard input and writes the objects, or the lint's messages, to standard output.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

type request struct {
	// The folder of the chart.
	Chart string `json:"chart"`
	// The release.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// The release of Kubernetes for which it is rendered.
	Kubernetes string `json:"kubernetes"`
	// Values over those of the chart.
	Values map[string]any `json:"values"`
	// Lint instead of rendering.
	Lint bool `json:"lint"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var asked request
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	version, err := common.ParseKubeVersion(asked.Kubernetes)
	if err != nil {
		return err
	}
	if asked.Lint {
		result := lint.RunAll(asked.Chart, asked.Values, asked.Namespace, lint.WithKubeVersion(version))
		for _, message := range result.Messages {
			fmt.Println(message)
		}
		return nil
	}
	chart, err := loader.Load(asked.Chart)
	if err != nil {
		return err
	}
	capabilities := *common.DefaultCapabilities
	capabilities.KubeVersion = *version
	release := common.ReleaseOptions{Name: asked.Name, Namespace: asked.Namespace, Revision: 1, IsInstall: true}
	values, err := util.ToRenderValues(chart, asked.Values, release, &capabilities)
	if err != nil {
		return err
	}
	files, err := engine.Render(chart, values)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		if strings.HasSuffix(name, ".yaml") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("---\n# %s\n%s\n", name, files[name])
	}
	return nil
}
