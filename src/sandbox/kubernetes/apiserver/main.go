// A Kubernetes API server, the etcd it stores in, and the controller that empties deleted namespaces, in one
// process: the cluster of Groundwork's sandbox.
//
// The arguments are etcd's folder, etcd's client address and the administrator's kubeconfig; all others are
// kube-apiserver's own flags (https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/).
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/pkg/controller/namespace"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: kube-apiserver ETCD_FOLDER ETCD_ADDRESS KUBECONFIG [kube-apiserver's flags]")
		os.Exit(64)
	}
	folder, address, kubeconfig := os.Args[1], os.Args[2], os.Args[3]
	etcd, err := startEtcd(folder, address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
	go emptyNamespaces(kubeconfig)
	os.Args = append([]string{"kube-apiserver", "--etcd-servers=" + address}, os.Args[4:]...)
	code := cli.Run(app.NewAPIServerCommand())
	etcd.Close()
	os.Exit(code)
}

// startEtcd starts a cluster of one member, whose peer address is never used: a random port of loopback.
func startEtcd(folder, address string) (*embed.Etcd, error) {
	clients, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	peers := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	config := embed.NewConfig()
	config.Name = "sandbox"
	config.Dir = folder
	config.LogLevel = "fatal"
	config.UnsafeNoFsync = true
	config.ListenClientUrls = []url.URL{*clients}
	config.AdvertiseClientUrls = []url.URL{*clients}
	config.ListenPeerUrls = []url.URL{peers}
	config.AdvertisePeerUrls = []url.URL{peers}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case <-time.After(30 * time.Second):
		etcd.Close()
		return nil, fmt.Errorf("not ready within 30 seconds")
	}
}

// emptyNamespaces runs Kubernetes' own controller, without which a deleted namespace would stay for ever.
func emptyNamespaces(kubeconfig string) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		fmt.Fprintln(os.Stderr, "namespaces:", err)
		return
	}
	config.QPS, config.Burst = 200, 400
	client := kubernetes.NewForConfigOrDie(config)
	// The server starts at the same time.
	for _, err := client.Discovery().ServerVersion(); err != nil; _, err = client.Discovery().ServerVersion() {
		time.Sleep(100 * time.Millisecond)
	}
	ctx := context.Background()
	factory := informers.NewSharedInformerFactory(client, 10*time.Minute)
	controller := namespace.NewNamespaceController(ctx, client, metadata.NewForConfigOrDie(config),
		client.Discovery().ServerPreferredNamespacedResources, factory.Core().V1().Namespaces(),
		5*time.Minute, corev1.FinalizerKubernetes)
	factory.Start(ctx.Done())
	controller.Run(ctx, 5)
}
