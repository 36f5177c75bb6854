/* metric_manual - prints docs/metrics.md from the tables that the program declares.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>

#include "daemon/access_log.h"
#include "daemon/caches.h"
#include "daemon/engines.h"
#include "daemon/machine.h"
#include "daemon/live.h"
#include "daemon/process.h"
#include "daemon/recorder.h"
#include "daemon/statsd_port.h"
#include "daemon/store.h"
#include "export/otlp_metrics.h"
#include "export/statsd.h"
#include "observe/history.h"
#include "gateway/traffic.h"
#include "observe/metric.h"
#include "operate/gpu.h"
#include "operate/gpu_batch.h"

int main(void)
{
    static const struct ps_metric_family *const tables[] = {ps_traffic_metric_families,
                                                            ps_engines_metric_families,
                                                            ps_process_metric_families,
                                                            ps_machine_metric_families,
                                                            ps_access_log_metric_families,
                                                            ps_caches_metric_families,
                                                            ps_gpu_metric_families,
                                                            ps_gpu_batch_metric_families,
                                                            ps_store_metric_families,
                                                            ps_history_metric_families,
                                                            ps_recorder_metric_families,
                                                            ps_live_metric_families,
                                                            ps_statsd_metric_families,
                                                            ps_otlp_metric_families,
                                                            ps_statsd_port_metric_families,
                                                            ps_metric_metrics, NULL};
    struct ps_buf out = ps_buf_make(1024 * 1024);
    int err = ps_metric_manual(tables, &out);
    if (err == PS_OK) {
        fwrite(out.data, 1, out.len, stdout);
    }
    ps_buf_fini(&out);
    return err == PS_OK ? 0 : 1;
}
