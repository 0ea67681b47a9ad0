#!/usr/bin/env python3
"""Writes the Grafana dashboards of Conexus: `python3 observability/grafana/generate.py`.

The JSON is made, not clicked, so that every panel of a kind looks and behaves alike; a test compares what is committed
with what this prints. Needs only Python's standard library.
"""

import json
import sys
from pathlib import Path

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE = "$__rate_interval"
# Series of the chosen job.
JOB = 'job="$job"'

# Tools that have a row of their own: what each is for.
TOOLS = {
    "context_search": "Searches the index.",
    "context_grep": "Finds lines by regular expression.",
    "context_index_control": "Starts, stops and follows indexing; a start lasts as long as the run.",
}

CORE, SIDECAR = 'process="conexusd"', 'process="conexus-sidecar"'

FLAT = {"percentunit": 0.1, "ops": 1, "reqps": 1, "short": 1}
GREEN, AMBER, RED, BLUE = "green", "orange", "red", "blue"


def rate(metric, labels="", window=RATE):
    """Per-second increase of a counter of this job."""
    return f"rate({series(metric, labels)}[{window}])"


def series(metric, labels=""):
    return f"{metric}{{{JOB}{',' + labels if labels else ''}}}"


def quantile(q, metric, by="", labels=""):
    """A quantile of a histogram; series without observations are left out rather than shown as NaN."""
    grouping = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, sum by ({grouping}) ({rate(metric + '_bucket', labels)})) >= 0"


def used(expression, metric, by, labels=""):
    """The expression for label values that occurred at least once: most series of a closed set stay 0 for ever."""
    return f"{expression} and on ({by}) (sum by ({by}) ({series(metric, labels)}) > 0)"


def target(expression, legend, exemplar=False, instant=False):
    made = {"datasource": DATASOURCE, "editorMode": "code", "expr": expression, "legendFormat": legend, "range": not instant}
    if instant:
        made["instant"] = True
    if exemplar:
        made["exemplar"] = True
    return made


def steps(*pairs):
    """Thresholds: colours, each from a value on."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in pairs]}


class Board:
    """Panels placed left to right in rows 24 wide."""

    def __init__(self):
        self.panels = []
        self.x = self.y = self.line = 0

    def row(self, title):
        self.newline()
        self.add({"type": "row", "title": title, "collapsed": False, "panels": []}, 24, 1)

    def newline(self):
        self.x, self.y, self.line = 0, self.y + self.line, 0

    def add(self, panel, width, height):
        if self.x + width > 24:
            self.newline()
        panel["id"] = len(self.panels) + 1
        panel["gridPos"] = {"h": height, "w": width, "x": self.x, "y": self.y}
        self.x, self.line = self.x + width, max(self.line, height)
        for number, query in enumerate(panel.get("targets", [])):
            query["refId"] = "ABCDEFGH"[number]
        self.panels.append(panel)

    def graph(self, title, description, unit, *targets, width=8, height=8, stacked=False, maximum=None, thresholds=None, empty=None, many=False):
        custom = {
            "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "fillOpacity": 25 if stacked else 10,
            "gradientMode": "none", "pointSize": 4, "showPoints": "auto", "spanNulls": False, "axisPlacement": "auto",
            "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
            "thresholdsStyle": {"mode": "dashed" if thresholds else "off"},
        }
        # A graph of nothing but 0 is scaled to something that could be.
        if unit in FLAT:
            custom["axisSoftMax"] = FLAT[unit]
        defaults = {
            "color": {"mode": "palette-classic"}, "custom": custom, "unit": unit, "min": 0,
            "thresholds": thresholds or steps((None, GREEN)),
        }
        if maximum is not None:
            defaults["max"] = maximum
        if empty:
            defaults["noValue"] = empty
        self.add({
            "type": "timeseries", "title": title, "description": description, "datasource": DATASOURCE,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {
                # Three rows of a table are as many as there is room for.
                "legend": {"calcs": [] if many else ["lastNotNull", "max"], "displayMode": "list" if many else "table", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
            "targets": list(targets),
        }, width, height)

    def stat(self, title, description, unit, expression, thresholds, legend="", mappings=None, width=4, height=4, text="value", graph=True, decimals=None, empty=None):
        defaults = {"color": {"mode": "thresholds"}, "unit": unit, "thresholds": thresholds, "mappings": mappings or []}
        if decimals is not None:
            defaults["decimals"] = decimals
        if empty:
            defaults["noValue"] = empty
        self.add({
            "type": "stat", "title": title, "description": description, "datasource": DATASOURCE,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {
                "colorMode": "value", "graphMode": "area" if graph else "none", "justifyMode": "auto", "orientation": "auto",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "textMode": text, "wideLayout": True, "showPercentChange": False,
            },
            "targets": [target(expression, legend, instant=not graph)],
        }, width, height)

    def gauge(self, title, description, unit, expression, thresholds, width=8, height=8, empty=None):
        defaults = {"color": {"mode": "thresholds"}, "unit": unit, "min": 0, "max": 1, "thresholds": thresholds}
        if empty:
            defaults["noValue"] = empty
        self.add({
            "type": "gauge", "title": title, "description": description, "datasource": DATASOURCE,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {
                "orientation": "auto", "showThresholdLabels": False, "showThresholdMarkers": True,
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            },
            "targets": [target(expression, "")],
        }, width, height)


UP = [{"type": "value", "options": {"0": {"text": "down", "color": RED, "index": 0}, "1": {"text": "up", "color": GREEN, "index": 1}}}]
SWITCHED = [{"type": "value", "options": {"0": {"text": "off or failing", "color": AMBER, "index": 0}, "1": {"text": "up", "color": GREEN, "index": 1}}}]
ANY_IS_BAD = steps((None, GREEN), (1, RED))
PLAIN = steps((None, BLUE))

ERRORS = "conexus_mcp_errors_total"
REQUESTS = "conexus_mcp_requests_total"
DURATION = "conexus_mcp_request_duration_seconds"
SEARCH = "conexus_vectorstore_search_duration_seconds"
HITS, MISSES = "conexus_embedding_cache_hits_total", "conexus_embedding_cache_misses_total"


def ratio(part, rest):
    """part / (part + rest) by their rates; nothing where neither moves."""
    return f"sum({rate(part)}) / (sum({rate(part)}) + sum({rate(rest)}) > 0)"


def overview():
    board = Board()

    board.row("At a glance")
    board.stat("Server", "Whether a serving conexusd is connected to the sidecar.", "none", f"min({series('conexus_up')})", steps((None, RED), (1, GREEN)), mappings=UP, graph=False)
    board.stat("Uptime", "Since conexusd started.", "s", f"time() - max({series('process_start_time_seconds', CORE)})", PLAIN, graph=False, decimals=0)
    board.stat("Requests", "MCP requests a second, all methods.", "reqps", f"sum({rate(REQUESTS)})", PLAIN)
    board.stat("Errors", "Share of MCP requests that failed, all methods.", "percentunit", f"sum({rate(ERRORS)}) / (sum({rate(REQUESTS)}) > 0)", steps((None, GREEN), (0.01, AMBER), (0.05, RED)), empty="no requests")
    board.stat("Search p95", "Nineteen of twenty searches are faster.", "s", quantile(0.95, DURATION, labels='method="context_search"'), steps((None, GREEN), (0.5, AMBER), (1, RED)), empty="no searches")
    board.stat("Documents", "Chunks in the index.", "short", f"sum({series('conexus_vectorstore_documents_total')})", PLAIN)

    board.row("MCP requests")
    board.graph("MCP Request Rate", "Requests a second, by method or tool. Methods never asked for are left out.", "reqps",
                target(used(f"sum by (method) ({rate(REQUESTS)})", REQUESTS, "method"), "{{method}}"), many=True)
    board.graph("MCP Request Latency (p95)", "Nineteen of twenty requests are faster. Points are examples: each opens its trace.", "s",
                target(quantile(0.95, DURATION, "method"), "{{method}}", exemplar=True), empty="no requests", many=True)
    board.graph("MCP Error Rate", "Share of requests that failed, by method or tool. The line is where HighMCPErrorRate begins.", "percentunit",
                target(f"sum by (method) ({rate(ERRORS)}) / (sum by (method) ({rate(REQUESTS)}) > 0)", "{{method}}"),
                thresholds=steps((None, GREEN), (0.05, RED)), empty="no requests", many=True)
    board.graph("Errors by Type", "Failed requests a second, by cause. Causes never seen are left out.", "reqps",
                target(used(f"sum by (error_type) ({rate(ERRORS)})", ERRORS, "error_type"), "{{error_type}}"), width=12, stacked=True, empty="no error so far", many=True)
    board.graph("Requests in Flight", "Taken up and not yet answered.", "short",
                target(f"sum({series('conexus_mcp_requests_in_flight')})", "in flight"), width=12)

    for tool, purpose in TOOLS.items():
        this = f'method="{tool}"'
        board.row(f"Tool: {tool}")
        board.graph(f"{tool}: rate", f"{purpose} Calls a second, by how they ended.", "reqps",
                    target(f"sum by (status) ({rate(REQUESTS, this)})", "{{status}}"), stacked=True)
        board.graph(f"{tool}: errors", "Failed calls a second, by cause. Causes never seen are left out.", "reqps",
                    target(used(f"sum by (error_type) ({rate(ERRORS, this)})", ERRORS, "error_type", this), "{{error_type}}"), stacked=True, empty="no error so far", many=True)
        board.graph(f"{tool}: duration", "Half, nineteen of twenty, and 99 of 100 calls are faster. Points are examples: each opens its trace.", "s",
                    target(quantile(0.5, DURATION, labels=this), "p50"), target(quantile(0.95, DURATION, labels=this), "p95", exemplar=True),
                    target(quantile(0.99, DURATION, labels=this), "p99"), empty="no calls", many=True)

    board.row("Search")
    board.graph("Vector Search Latency (p95)", "By lane: hybrid is a whole search, vector and bm25 are its halves. Points are examples: each opens its trace.", "s",
                target(quantile(0.95, SEARCH, "search_type"), "{{search_type}}", exemplar=True), empty="no searches", many=True)
    board.graph("Searches", "A second, by lane.", "ops", target(f"sum by (search_type) ({rate(SEARCH + '_count')})", "{{search_type}}"), many=True)
    board.graph("Search Cache Hit Rate", "Share of searches answered from the cache of whole answers.", "percentunit",
                target(ratio("conexus_search_cache_hits_total", "conexus_search_cache_misses_total"), "hits"), maximum=1, empty="no searches")

    board.row("Indexing")
    board.graph("Files Indexed per Minute", "Averaged over a minute.", "short", target(f"sum({rate('conexus_indexer_files_indexed_total', window='1m')}) * 60", "files a minute"))
    board.stat("Total Chunks Created", "Since the sidecar began to count, over restarts.", "short", f"sum({series('conexus_indexer_chunks_created_total')})", PLAIN, width=8, height=8)
    board.graph("Files Waiting", "Discovered and not finished; 0 when idle.", "short", target(f"sum({series('conexus_indexer_queue_depth')})", "waiting"))
    board.graph("Indexing Duration of a File", "To read, chunk, embed and store it.", "s",
                target(quantile(0.5, "conexus_indexer_indexing_duration_seconds"), "p50"), target(quantile(0.95, "conexus_indexer_indexing_duration_seconds"), "p95"), empty="nothing indexed")
    board.graph("Files Skipped", "Left out on purpose, in all, by reason. Reasons never met are left out.", "short",
                target(f"sum by (reason) ({series('conexus_indexer_files_skipped_total')}) > 0", "{{reason}}"), empty="none so far", many=True)
    board.graph("Files Failed", "Could not be indexed, in all, by cause.", "short",
                target(f"sum by (error_type) ({series('conexus_indexer_files_failed_total')})", "{{error_type}}"), many=True)
    board.graph("Store Write Latency (p95)", "To write one batch of documents.", "s",
                target(quantile(0.95, "conexus_vectorstore_insert_duration_seconds"), "p95"), width=24, height=6, empty="nothing written")

    board.row("Embeddings")
    board.gauge("Embedding Cache Hit Rate", "Share of embeddings found in the cache. A first run finds none.", "percentunit", ratio(HITS, MISSES),
                steps((None, AMBER), (0.5, GREEN)), empty="no lookups")
    board.graph("Embedding Generation Latency", "Average over batches, by provider.", "s",
                target(f"sum by (provider) ({rate('conexus_embedding_generation_duration_seconds_sum')}) / (sum by (provider) ({rate('conexus_embedding_generation_duration_seconds_count')}) > 0)", "{{provider}}"), empty="none made")
    board.graph("Embedding Errors", "Failed batches a second, by provider.", "ops",
                target(f"sum by (provider) ({rate('conexus_embedding_errors_total')})", "{{provider}}"))

    board.row("Process")
    both = "{{process}}"
    board.graph("Active Tasks", "Alive tasks of the async runtimes.", "short", target(f"sum by (process) ({series('conexus_runtime_tasks')})", both))
    board.graph("Memory Usage", "Of conexusd: asked for by the program, and in pages that hold it.", "bytes",
                target(f"sum({series('conexus_runtime_allocator_allocated_bytes', CORE)})", "allocated"),
                target(f"sum({series('conexus_runtime_allocator_active_bytes', CORE)})", "active"),
                target(f"sum({series('process_resident_memory_bytes', CORE)})", "resident"), many=True)
    board.graph("Scheduling Delay (p99)", "How late a probe task woke up: what a collector's pauses were to the Go server.", "s",
                target(quantile(0.99, "conexus_runtime_scheduling_delay_seconds", "process"), both))
    board.graph("CPU", "Cores in use.", "short", target(f"sum by (process) ({rate('process_cpu_seconds_total')})", both))
    board.graph("Busy Workers", "Share of the async workers' time.", "percentunit", target(f"max by (process) ({series('conexus_runtime_busy_ratio')})", both), maximum=1)
    board.graph("Open Files", "File descriptors.", "short", target(f"sum by (process) ({series('process_open_fds')})", both))

    board.row("Telemetry")
    board.stat("Telemetry Age", "Age of the last snapshot of the core.", "s", f"max({series('conexus_telemetry_lag_seconds')})", steps((None, GREEN), (5, AMBER), (15, RED)), width=6, graph=False)
    board.stat("Dropped Records", "In the time range.", "short", f"sum(increase({series('conexus_telemetry_records_dropped_total')}[$__range]))", ANY_IS_BAD, width=6, graph=False, decimals=0)
    board.stat("Restarts", "Of conexusd, in the time range.", "short", f"sum(increase({series('conexus_core_restarts_total')}[$__range]))", steps((None, GREEN), (1, AMBER)), width=6, graph=False, decimals=0)
    board.stat("Crashes", "Of conexusd, in the time range.", "short", f"sum(increase({series('conexus_core_crashes_total')}[$__range]))", ANY_IS_BAD, width=6, graph=False, decimals=0)

    return dashboard("conexus-overview", "Conexus Overview", "Requests, search, indexing and health of Conexus.", board.panels)


def telemetry():
    board = Board()
    board.row("State")
    board.stat("Sidecar", "Whether Prometheus can scrape it.", "none", f"min({series('up')})", steps((None, RED), (1, GREEN)), mappings=UP, graph=False)
    board.stat("Core connected", "Whether a serving conexusd is connected.", "none", f"min({series('conexus_up')})", steps((None, RED), (1, GREEN)), mappings=UP, graph=False)
    board.stat("Telemetry age", "Age of the last snapshot of the core.", "s", f"max({series('conexus_telemetry_lag_seconds')})", steps((None, GREEN), (5, AMBER), (15, RED)))
    board.stat("Restarts", "Of conexusd, in the time range.", "short", f"sum(increase({series('conexus_core_restarts_total')}[$__range]))", steps((None, GREEN), (1, AMBER)), graph=False, decimals=0)
    board.stat("Crashes", "Of conexusd, in the time range.", "short", f"sum(increase({series('conexus_core_crashes_total')}[$__range]))", ANY_IS_BAD, graph=False, decimals=0)
    board.stat("Versions", "Of both processes.", "none", f"max by (process, version) ({series('conexus_build_info')})", PLAIN, legend="{{process}} {{version}}", text="name", graph=False)

    board.row("From the core to the sidecar")
    records, dropped = "conexus_telemetry_records_received_total", "conexus_telemetry_records_dropped_total"
    board.graph("Records Received", "Spans, log lines and errors taken a second.", "ops", target(f"sum by (kind) ({rate(records)})", "{{kind}}"), stacked=True, many=True)
    board.graph("Records Dropped", "A second, by reason: ring_full, unsent_full and shutdown in the core, the others in the sidecar.", "ops",
                target(f"sum by (reason) ({rate(dropped)})", "{{reason}}"), stacked=True, many=True)
    board.graph("Share Dropped", "Of all records that came about.", "percentunit",
                target(f"sum by (kind) ({rate(dropped)}) / (sum by (kind) ({rate(dropped)}) + sum by (kind) ({rate(records)}) > 0)", "{{kind}}"), empty="no records", many=True)
    board.graph("Batches Received", "A second.", "ops", target(f"sum({rate('conexus_telemetry_batches_received_total')})", "batches"))
    board.graph("Batches Rejected", "A second, by reason. Any is a fault.", "ops", target(f"sum by (reason) ({rate('conexus_telemetry_batches_rejected_total')})", "{{reason}}"), many=True)
    board.graph("Telemetry Age", "Age of the oldest last snapshot among connected cores.", "s", target(f"max({series('conexus_telemetry_lag_seconds')})", "age"))

    board.row("From the sidecar to the backends")
    board.stat("Exporters", "Whether each is switched on and its last attempt succeeded.", "none", f"min by (exporter) ({series('conexus_telemetry_exporter_up')})",
               steps((None, AMBER), (1, GREEN)), legend="{{exporter}}", mappings=SWITCHED, width=8, height=8, text="value_and_name", graph=False)
    board.graph("Export Failures", "Attempts a second that failed.", "ops", target(f"sum by (exporter) ({rate('conexus_telemetry_export_failures_total')})", "{{exporter}}"), many=True)
    board.graph("Export Queue", "Records that wait to be exported.", "short", target(f"sum by (exporter) ({series('conexus_telemetry_export_queue_depth')})", "{{exporter}}"), many=True)
    board.graph("Traces", "That ended, a second: kept for export or not.", "ops", target(f"sum by (decision) ({rate('conexus_telemetry_traces_sampled_total')})", "{{decision}}"), stacked=True, width=12)
    board.graph("Spool", "What waits on disk until a backend is reachable.", "bytes", target(f"sum({series('conexus_telemetry_spool_bytes')})", "spool"), width=12)

    board.row("The sidecar itself")
    board.graph("CPU", "Cores in use.", "short", target(f"sum({rate('process_cpu_seconds_total', SIDECAR)})", "sidecar"))
    board.graph("Memory", "Resident, and asked for by the program.", "bytes", target(f"sum({series('process_resident_memory_bytes', SIDECAR)})", "resident"),
                target(f"sum({series('conexus_runtime_allocator_allocated_bytes', SIDECAR)})", "allocated"))
    board.graph("Scheduling Delay (p99)", "How late a probe task woke up.", "s", target(quantile(0.99, "conexus_runtime_scheduling_delay_seconds", labels=SIDECAR), "sidecar"))
    board.graph("Scrape Duration", "As Prometheus sees it.", "s", target(f"max({series('scrape_duration_seconds')})", "scrape"), width=12)
    board.graph("Scrape Size", "Series in one scrape.", "short", target(f"max({series('scrape_samples_scraped')})", "series"), width=12)

    return dashboard("conexus-telemetry", "Conexus Telemetry", "Health of the telemetry pipeline: core, sidecar, exporters.", board.panels)


def dashboard(uid, title, description, panels):
    variables = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0,
         "includeAll": False, "multi": False, "options": [], "refresh": 1, "regex": ""},
        {"name": "job", "label": "Job", "type": "query", "datasource": DATASOURCE, "current": {"selected": True, "text": "conexus", "value": "conexus"},
         "query": {"query": "label_values(conexus_build_info, job)", "refId": "job"},
         "hide": 0, "includeAll": False, "multi": False, "options": [], "refresh": 2, "regex": "", "sort": 1},
    ]
    links = [{"type": "dashboards", "title": "Conexus", "tags": ["conexus"], "asDropdown": False, "icon": "external link", "includeVars": True,
              "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}]
    return {
        "uid": uid, "title": title, "description": description, "tags": ["conexus"], "schemaVersion": 39, "version": 1, "editable": True,
        "graphTooltip": 1, "refresh": "15s", "time": {"from": "now-1h", "to": "now"}, "timepicker": {}, "timezone": "browser", "weekStart": "",
        "fiscalYearStartMonth": 0, "annotations": {"list": []}, "links": links, "templating": {"list": variables}, "panels": panels,
    }


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards"
    for made in (overview(), telemetry()):
        text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{made['uid']}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
