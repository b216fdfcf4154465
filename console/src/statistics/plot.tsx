// A plot of bars, drawn by uPlot in the colors of the page.

import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export interface Series {
  label: string;
  /** The name of a color of base.css. */
  color: string;
  values: number[];
}

interface Properties {
  title: string;
  labels: string[];
  series: Series[];
}

const HEIGHT = 220;
const MOST_LABELS = 12;
/** Distances of grid lines. Counts are whole numbers. */
const WHOLE_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 1e5, 1e6];
const SCHEME = matchMedia("(prefers-color-scheme: dark)");

export function Plot({ title, labels, series }: Properties) {
  const container = useRef<HTMLDivElement>(null);
  const isDark = useIsDark();
  const library = useLibrary();
  useEffect(() => {
    if (!library) return undefined;
    const element = container.current!;
    const options = optionsOf(library, labels, series, element.clientWidth);
    const plot = new library(options, dataOf(labels, series), element);
    const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [library, labels, series, isDark]);
  return <div ref={container} class="plot" role="img" aria-label={title} />;
}

type Library = typeof uPlot;

/** Loads uPlot when it is first needed. Without it, the numbers are still shown as a table. */
function useLibrary(): Library | undefined {
  const [library, setLibrary] = useState<{ loaded: Library }>();
  useEffect(() => {
    import("uplot").then(
      (module) => setLibrary({ loaded: module.default }),
      () => undefined,
    );
  }, []);
  return library?.loaded;
}

function useIsDark(): boolean {
  const [isDark, setIsDark] = useState(SCHEME.matches);
  useEffect(() => {
    const follow = () => setIsDark(SCHEME.matches);
    SCHEME.addEventListener("change", follow);
    return () => SCHEME.removeEventListener("change", follow);
  }, []);
  return isDark;
}

function dataOf(labels: string[], series: Series[]): uPlot.AlignedData {
  return [labels.map((_, index) => index), ...series.map(({ values }) => values)];
}

function optionsOf(library: Library, labels: string[], series: Series[], width: number): uPlot.Options {
  const styles = getComputedStyle(document.documentElement);
  const color = (name: string) => styles.getPropertyValue(name).trim();
  const step = Math.ceil(labels.length / Math.min(MOST_LABELS, Math.max(3, width / 60)));
  const axis = { stroke: color("--muted"), font: "12px system-ui", ticks: { show: false } };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { time: false, range: [-0.6, labels.length - 0.4] },
      y: { range: (_, __, most) => [0, Math.max(4, Math.ceil(most * 1.08))] },
    },
    axes: [
      {
        ...axis,
        size: 30,
        grid: { show: false },
        splits: () => labels.map((_, index) => index).filter((index) => (labels.length - 1 - index) % step === 0),
        values: (_, splits) => splits.map((index) => labels[index] ?? ""),
      },
      { ...axis, size: 44, grid: { stroke: color("--border"), width: 1 }, incrs: WHOLE_STEPS },
    ],
    series: [{}, ...series.map((each, index) => barsOf(library, color(each.color), index, series.length))],
  };
}

function barsOf(library: Library, fill: string, index: number, count: number): uPlot.Series {
  const align = count === 1 ? 0 : index === 0 ? -1 : 1;
  const paths = library.paths.bars!({ size: [0.72 / count, 36], align, radius: 0.15 });
  return { fill, width: 0, points: { show: false }, paths };
}
