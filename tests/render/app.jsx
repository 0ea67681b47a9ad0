// Draws a dashboard with the components that Grafana's own panels are made of: PanelChrome, TimeSeries, BigValue. The round
// gauge is not in the published package: its value, unit and thresholds are drawn as a bar.
//
// What it does itself is what Grafana's server and its Prometheus data source do: fill variables in, ask, name series by
// their legends. The page says `window.finished` when everything is drawn, and `window.problems` what went wrong.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { FieldType, LoadingState, ThemeContext, EventBusSrv, createDataFrame, createTheme, dateTime, getDisplayProcessor, getFieldDisplayValues } from '@grafana/data';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, PanelContextRoot, PortalContainer, TimeSeries, VizRepeater } from '@grafana/ui';

const { dashboard, prometheus, from, to, step } = window.given;
const theme = createTheme({ colors: { mode: 'light' } });
const CELL = { width: 60, height: 38, gap: 8 };
window.problems = [];

function fill(text) {
  const seconds = Math.max(4 * step, 60);
  return text.replaceAll('$__rate_interval', `${seconds}s`).replaceAll('$__range', `${Math.round(to - from)}s`).replaceAll('$job', 'conexus');
}

async function ask(target) {
  const parameters = target.instant ? { query: fill(target.expr), time: to } : { query: fill(target.expr), start: from, end: to, step };
  const reply = await (await fetch(`${prometheus}/api/v1/${target.instant ? 'query' : 'query_range'}?${new URLSearchParams(parameters)}`)).json();
  if (reply.status !== 'success') throw new Error(`${target.expr}: ${reply.error}`);
  return reply.data.result.map((series) => ({ ...series, values: series.values ?? [series.value], target }));
}

function nameOf(series) {
  const legend = series.target.legendFormat.replace(/{{\s*(\w+)\s*}}/g, (_, label) => series.metric[label] ?? '');
  return legend || series.target.expr;
}

function frameOf(series, panel) {
  const config = structuredClone(panel.fieldConfig.defaults);
  config.displayNameFromDS = nameOf(series);
  const frame = createDataFrame({
    refId: series.target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: series.values.map(([time]) => time * 1000), config: { interval: step * 1000 } },
      { name: 'Value', type: FieldType.number, labels: series.metric, values: series.values.map(([, value]) => (value === 'NaN' ? null : Number(value))), config },
    ],
  });
  const numbers = frame.fields[1].values.filter((value) => value !== null);
  const [min, max] = [config.min ?? Math.min(...numbers), config.max ?? Math.max(...numbers)];
  frame.fields[1].state = { seriesIndex: series.index, range: { min, max, delta: max - min } };
  for (const field of frame.fields) field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
  return frame;
}

const timeRange = { from: dateTime(from * 1000), to: dateTime(to * 1000), raw: { from: 'now-1h', to: 'now' } };

function Drawing({ panel, frames, width, height }) {
  if (frames.length === 0) return <div data-empty="">{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
  if (panel.type === 'timeseries') {
    return <TimeSeries frames={frames} width={width} height={height} timeRange={timeRange} timeZone="utc" legend={panel.options.legend} options={panel.options} />;
  }
  const values = () => getFieldDisplayValues({
    fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (text) => text, theme, data: frames,
    sparkline: panel.options.graphMode === 'area', timeZone: 'utc',
  });
  if (panel.type === 'gauge') {
    const [value] = values();
    return <BarGauge value={{ ...value.display, title: undefined }} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)} width={width} height={height} theme={theme} orientation="horizontal" displayMode="gradient" />;
  }
  const one = ({ value, width, height, count }) => (
    <BigValue value={value.display} count={count} sparkline={value.sparkline} width={width} height={height} theme={theme} colorMode={panel.options.colorMode}
      graphMode={panel.options.graphMode} justifyMode={panel.options.justifyMode} textMode={panel.options.textMode} wideLayout={panel.options.wideLayout} />
  );
  return <VizRepeater getValues={values} renderValue={one} width={width} height={height} source={frames} autoGrid renderCounter={0} orientation={panel.options.orientation} />;
}

class Guard extends React.Component {
  state = {};
  static getDerivedStateFromError(error) { return { error }; }
  componentDidCatch(error) { window.problems.push(`${this.props.title}: ${error.message}`); }
  render() { return this.state.error ? <div>{String(this.state.error)}</div> : this.props.children; }
}

function Panel({ panel, frames }) {
  const { x, y, w, h } = panel.gridPos;
  const at = { position: 'absolute', left: x * CELL.width, top: y * CELL.height, width: w * CELL.width - CELL.gap, height: h * CELL.height - CELL.gap };
  if (panel.type === 'row') return <h4 style={{ ...at, lineHeight: `${at.height}px` }}>{panel.title}</h4>;
  const context = { eventsScope: 'global', eventBus: new EventBusSrv(), sync: () => 0 };
  return (
    <div style={at} data-panel={panel.title}>
      <PanelContextRoot value={context}>
        <PanelChrome title={panel.title} width={at.width} height={at.height} loadingState={LoadingState.Done}>
          {(width, height) => <Guard title={panel.title}><Drawing panel={panel} frames={frames} width={width} height={height} /></Guard>}
        </PanelChrome>
      </PanelContextRoot>
    </div>
  );
}

const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * CELL.height;
const data = new Map();
for (const panel of dashboard.panels) {
  try {
    const series = (await Promise.all((panel.targets ?? []).map(ask))).flat();
    data.set(panel.id, series.map((one, index) => frameOf({ ...one, index }, panel)));
    if (panel.type !== 'row' && series.length === 0) window.problems.push(`${panel.title}: no data`);
  } catch (error) {
    window.problems.push(`${panel.title}: ${error.message}`);
    data.set(panel.id, []);
  }
}
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <div style={{ position: 'relative', width: 24 * CELL.width, height: bottom }}>
      {dashboard.panels.map((panel) => <Panel key={panel.id} panel={panel} frames={data.get(panel.id)} />)}
    </div>
    <PortalContainer />
  </ThemeContext.Provider>,
);
setTimeout(() => { window.finished = true; }, 2000);
