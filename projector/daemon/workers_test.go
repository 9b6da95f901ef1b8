package daemon

import "testing"

func TestWorkersLs(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitDone, words("workers ls"), "no worker runs")
	if out := f.want(exitDone, words("workers ls -o json")); out != "[]\n" {
		t.Errorf("of none it prints %q", out)
	}
	f.append("cart-1", "tea", 1) // a session that never had anything serves nothing yet
	f.append("cart-2", "tea", 1)
	f.work(func() error {
		if err := f.says("carts@1,items@1", "workers", "ls")(); err != nil {
			return err
		}
		f.want(exitDone, words("workers ls"), "WORKER", "blue    carts@1,items@1  2 ")
		f.wantValue("blue", exitDone, "workers ls", "0.worker")
		f.want(exitDone, words("status"), "1 worker\n")
		return nil
	}, "--name", "blue", "--ttl", "1h")
	f.want(exitDone, words("workers ls"), "no worker runs")
	f.want(exitUsage, words("workers"+" drainn"), `there is no command "shop workers drainn"`)
}
