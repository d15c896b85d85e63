/* svg.c - see svg.h. */
#include "core/front/svg.h"

#include <math.h>
#include <stdio.h>

#define SVG_WIDTH 760.0
#define SVG_HEIGHT 420.0
#define SVG_LEFT 70.0
#define SVG_RIGHT 20.0
#define SVG_TOP 50.0
#define SVG_BOTTOM 60.0

static const char *const svg_colours[] = {"#1b6ca8", "#c8553d", "#3c8d53",
                                          "#7a5195", "#8a6d1f", "#444444"};
#define N_SVG_COLOURS (sizeof svg_colours / sizeof svg_colours[0])

struct svg_axes {
    double x_min, x_max; /* log2 */
    double y_max, y_step;
};

static double
svg_x(const struct svg_axes *axes, double x)
{
    return SVG_LEFT
           + (log2(x) - axes->x_min) / (axes->x_max - axes->x_min)
                 * (SVG_WIDTH - SVG_LEFT - SVG_RIGHT);
}

static double
svg_y(const struct svg_axes *axes, double y)
{
    return SVG_HEIGHT - SVG_BOTTOM - y / axes->y_max * (SVG_HEIGHT - SVG_TOP - SVG_BOTTOM);
}

/* 1, 2 or 5 times a power of ten, so that at most about six steps reach most. */
static double
svg_step(double most)
{
    const double power = pow(10, floor(log10(most / 6)));
    const double parts = most / 6 / power;
    return power * (parts <= 1 ? 1 : parts <= 2 ? 2 : parts <= 5 ? 5 : 10);
}

static struct svg_axes
svg_axes_make(const struct svg_series *series, size_t n_series)
{
    struct svg_axes axes = {.x_min = INFINITY, .x_max = -INFINITY};
    double most = 0;
    for (size_t i = 0; i < n_series; i++) {
        for (size_t j = 0; j < series[i].n; j++) {
            axes.x_min = fmin(axes.x_min, log2(series[i].x[j]));
            axes.x_max = fmax(axes.x_max, log2(series[i].x[j]));
            most = fmax(most, series[i].y[j]);
        }
    }
    if (!(axes.x_min < axes.x_max)) {
        axes.x_min = isfinite(axes.x_min) ? axes.x_min - 1 : 0;
        axes.x_max = axes.x_min + 2;
    }
    most = most > 0 ? most : 1;
    axes.y_step = svg_step(most);
    axes.y_max = ceil(most / axes.y_step) * axes.y_step;
    return axes;
}

static void
svg_escape(struct text *text, const char *string)
{
    for (; *string; string++) {
        switch (*string) {
        case '<':
            text_add(text, "&lt;");
            break;
        case '>':
            text_add(text, "&gt;");
            break;
        case '&':
            text_add(text, "&amp;");
            break;
        default:
            text_append(text, string, 1);
        }
    }
}

static void
svg_label(struct text *text, double x, double y, const char *anchor, const char *more,
          const char *label)
{
    text_printf(text, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, more);
    svg_escape(text, label);
    text_add(text, "</text>\n");
}

static void
svg_grid(struct text *text, const struct svg_axes *axes)
{
    for (double y = 0; y <= axes->y_max * 1.0001; y += axes->y_step) {
        text_printf(text,
                    "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n",
                    SVG_LEFT, SVG_WIDTH - SVG_RIGHT, svg_y(axes, y), svg_y(axes, y));
        text_printf(text, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                    SVG_LEFT - 8, svg_y(axes, y) + 4, y);
    }
    for (double power = ceil(axes->x_min); power <= axes->x_max; power += 1) {
        const double x = svg_x(axes, exp2(power));
        text_printf(text,
                    "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#eee\"/>\n", x,
                    x, SVG_TOP, SVG_HEIGHT - SVG_BOTTOM);
        text_printf(text, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.0f</text>\n", x,
                    SVG_HEIGHT - SVG_BOTTOM + 18, exp2(power));
    }
}

static void
svg_line(struct text *text, const struct svg_axes *axes, const struct svg_series *series,
         size_t index)
{
    const char *colour = svg_colours[index % N_SVG_COLOURS];
    text_printf(text, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s points=\"",
                colour, series->dashed ? " stroke-dasharray=\"6 4\"" : "");
    for (size_t i = 0; i < series->n; i++) {
        text_printf(text, "%s%.1f,%.1f", i ? " " : "", svg_x(axes, series->x[i]),
                    svg_y(axes, series->y[i]));
    }
    text_add(text, "\"/>\n");
    for (size_t i = 0; i < series->n; i++) {
        text_printf(text, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                    svg_x(axes, series->x[i]), svg_y(axes, series->y[i]), colour);
    }
    char style[32];
    snprintf(style, sizeof style, " fill=\"%s\"", colour);
    svg_label(text, SVG_WIDTH - SVG_RIGHT, SVG_TOP - 26 + 14 * (double)index, "end", style,
              series->name);
}

void
svg_chart(struct text *text, const char *title, const char *x_label, const char *y_label,
          const struct svg_series *series, size_t n_series)
{
    const struct svg_axes axes = svg_axes_make(series, n_series);
    text_printf(text,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                "viewBox=\"0 0 %.0f %.0f\" "
                "font-family=\"sans-serif\" font-size=\"12\">\n",
                SVG_WIDTH, SVG_HEIGHT, SVG_WIDTH, SVG_HEIGHT);
    text_add(text, "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
    svg_label(text, SVG_LEFT, 24, "start", " font-size=\"15\"", title);
    svg_grid(text, &axes);
    svg_label(text, (SVG_LEFT + SVG_WIDTH - SVG_RIGHT) / 2, SVG_HEIGHT - 14, "middle", "", x_label);
    svg_label(text, SVG_LEFT, SVG_TOP - 10, "start", "", y_label);
    for (size_t i = 0; i < n_series; i++) {
        svg_line(text, &axes, &series[i], i);
    }
    text_add(text, "</svg>\n");
}

void
svg_stack(struct text *text, const struct text *charts, size_t n)
{
    text_printf(text, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\">\n", SVG_WIDTH,
                SVG_HEIGHT * (double)n);
    for (size_t i = 0; i < n; i++) {
        text_printf(text, "<g transform=\"translate(0,%.0f)\">\n", SVG_HEIGHT * (double)i);
        text_append(text, charts[i].bytes, charts[i].length);
        text_add(text, "</g>\n");
        text->failed = text->failed || charts[i].failed;
    }
    text_add(text, "</svg>\n");
}
