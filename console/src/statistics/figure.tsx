// A plot with its title, its legend and its numbers as a table.

import { text } from "../strings";
import { Plot, type Series } from "./plot";

interface Properties {
  title: string;
  /** What the labels are. */
  unit: string;
  labels: string[];
  /** The labels in the plot, if they are shorter. */
  shortLabels?: string[];
  series: Series[];
}

export function Figure({ title, unit, labels, shortLabels, series }: Properties) {
  return (
    <figure class="card figure">
      <figcaption>
        <h2>{title}</h2>
        {series.length > 1 &&
          series.map((each) => (
            <span key={each.label} class={`legend ${each.color.replace("--", "of-")}`}>
              {each.label}
            </span>
          ))}
      </figcaption>
      {labels.length === 0 ? (
        <p class="muted">{text.statistics.nothing}</p>
      ) : (
        <>
          <Plot title={title} labels={shortLabels ?? labels} series={series} />
          <Numbers unit={unit} labels={labels} series={series} />
        </>
      )}
    </figure>
  );
}

function Numbers({ unit, labels, series }: Omit<Properties, "title" | "shortLabels">) {
  return (
    <details>
      <summary>{text.statistics.asTable}</summary>
      <table>
        <thead>
          <tr>
            <th scope="col">{unit}</th>
            {series.map(({ label }) => (
              <th key={label} scope="col">
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {labels.map((label, index) => (
            <tr key={label}>
              <th scope="row" class="number">
                {label}
              </th>
              {series.map((each) => (
                <td key={each.label} class="number">
                  {each.values[index]?.toLocaleString("en")}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
