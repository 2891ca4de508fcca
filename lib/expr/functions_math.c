/* Functions of numbers. What has no finite result gives null: cell_double() sees to it. */
#include "expr/cell.h"
#include "expr/functions.h"

static double number(const struct cell *c)
{
    return c->type == TPC_INT ? (double) c->as.i : c->as.d;
}

/* An int, or a double without fraction within int64. */
static bool whole(const struct cell *c, int64_t *ret)
{
    struct cell w = c->type == TPC_INT ? *c : cell_whole(c->as.d);
    if (w.type != TPC_INT || (c->type == TPC_DOUBLE && (double) w.as.i != c->as.d)) {
        return false;
    }
    *ret = w.as.i;
    return true;
}

/* Rounded results are ints where they fit. d is finite. */
static struct cell int_or_double(double d)
{
    struct cell w = cell_whole(d);
    return w.type == TPC_INT ? w : cell_double(d);
}

static struct cell fn_abs(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    if (a->type == TPC_INT) {
        return a->as.i < 0 ? tpi_cell_neg(a) : *a;
    }
    return cell_double(fabs(a->as.d));
}

static struct cell fn_ceil(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return a->type == TPC_INT ? *a : int_or_double(ceil(a->as.d));
}

static struct cell fn_floor(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return a->type == TPC_INT ? *a : int_or_double(floor(a->as.d));
}

/* x to n digits behind the point, n within -22..22. */
static double to_digits(double x, int64_t n, double (*nearest)(double))
{
    double scale = tpi_pow10_exact((uint32_t) (n < 0 ? -n : n));
    double scaled = n < 0 ? x / scale : x * scale;
    if (!(fabs(scaled) < 9007199254740992.0)) {
        return x; /* it has no such digits */
    }
    return n < 0 ? nearest(scaled) * scale : nearest(scaled) / scale;
}

static struct cell rounded(const struct cell *a, uint32_t n, double (*nearest)(double))
{
    int64_t digits = 0;
    if (n == 1 || (whole(&a[1], &digits) && digits == 0)) {
        return a->type == TPC_INT ? *a : int_or_double(nearest(a->as.d));
    }
    if (!whole(&a[1], &digits) || digits < -22 || digits > 22) {
        return cell_null();
    }
    if (a->type == TPC_INT && digits > 0) {
        return *a;
    }
    double d = to_digits(number(a), digits, nearest);
    return a->type == TPC_INT ? int_or_double(d) : cell_double(d);
}

static struct cell fn_round(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    return rounded(a, n, round);
}

static struct cell fn_trunc(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    return rounded(a, n, trunc);
}

static struct cell fn_sign(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    double x = number(a);
    return cell_int((x > 0) - (x < 0));
}

static struct cell fn_mod(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return tpi_cell_math(OP_MOD, &a[0], &a[1]);
}

static struct cell fn_power(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(pow(number(&a[0]), number(&a[1])));
}

static struct cell fn_sqrt(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(sqrt(number(a)));
}

static struct cell fn_exp(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(exp(number(a)));
}

static struct cell fn_ln(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(log(number(a)));
}

static struct cell fn_log(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    return cell_double(n == 1 ? log10(number(a)) : log(number(&a[1])) / log(number(&a[0])));
}

static struct cell fn_sin(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(sin(number(a)));
}

static struct cell fn_cos(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(cos(number(a)));
}

static struct cell fn_tan(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(tan(number(a)));
}

static struct cell fn_asin(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(asin(number(a)));
}

static struct cell fn_acos(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(acos(number(a)));
}

static struct cell fn_atan(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(atan(number(a)));
}

static struct cell fn_atan2(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(atan2(number(&a[0]), number(&a[1])));
}

static const double pi = 3.14159265358979323846;

static struct cell fn_pi(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) a;
    (void) n;
    return cell_double(pi);
}

static struct cell fn_radians(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(number(a) * (pi / 180));
}

static struct cell fn_degrees(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_double(number(a) * (180 / pi));
}

/* The one that the order prefers; wanted: -1 the least, 1 the greatest. */
static struct cell extreme(const struct cell *a, uint32_t n, int wanted)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        int order;
        if (!tpi_cell_order(&a[i], &a[best], &order)) {
            return cell_null();
        }
        best = order == wanted ? i : best;
    }
    return a[best];
}

static struct cell fn_least(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    return extreme(a, n, -1);
}

static struct cell fn_greatest(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    return extreme(a, n, 1);
}

static struct cell fn_bitand(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    int64_t x, y;
    return whole(&a[0], &x) && whole(&a[1], &y) ? cell_int(x & y) : cell_null();
}

static struct cell fn_bitor(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    int64_t x, y;
    return whole(&a[0], &x) && whole(&a[1], &y) ? cell_int(x | y) : cell_null();
}

static struct cell fn_bitxor(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    int64_t x, y;
    return whole(&a[0], &x) && whole(&a[1], &y) ? cell_int(x ^ y) : cell_null();
}

static struct cell fn_bitnot(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    int64_t x;
    return whole(a, &x) ? cell_int(~x) : cell_null();
}

#define NUMBER(NAME, ARGS, MIN, MAX, USAGE, HELP)                                                  \
    {                                                                                              \
        .name = #NAME, .args = ARGS, .min = MIN, .max = MAX, .result = TPI_EXPR_NUMBER,            \
        .fn = fn_##NAME, .usage = USAGE, .help = HELP, .since = "0.1"                              \
    }

static const struct function items[] = {
    NUMBER(abs, "n", 1, 1, "abs(x)", "Without its sign."),
    { .name = "ceil",
      .aliases = "ceiling",
      .args = "n",
      .min = 1,
      .max = 1,
      .result = TPI_EXPR_NUMBER,
      .fn = fn_ceil,
      .usage = "ceil(x)",
      .help = "The least int that is not below x.",
      .since = "0.1" },
    NUMBER(floor, "n", 1, 1, "floor(x)", "The greatest int that is not above x."),
    NUMBER(round, "nn", 1, 2, "round(x[, digits])",
           "The nearest int, halves away from zero; or the nearest with so many digits behind the "
           "point, -22 to 22."),
    NUMBER(trunc, "nn", 1, 2, "trunc(x[, digits])", "As `round`, towards zero."),
    NUMBER(sign, "n", 1, 1, "sign(x)", "-1, 0 or 1."),
    NUMBER(mod, "n", 2, 2, "mod(x, y)", "`x % y`; the sign is x's, null if y is 0."),
    { .name = "power",
      .aliases = "pow",
      .args = "n",
      .min = 2,
      .max = 2,
      .result = TPI_EXPR_NUMBER,
      .fn = fn_power,
      .usage = "power(x, y)",
      .help = "x to the power of y.",
      .since = "0.1" },
    NUMBER(sqrt, "n", 1, 1, "sqrt(x)", "Square root; null below 0."),
    NUMBER(exp, "n", 1, 1, "exp(x)", "e to the power of x."),
    NUMBER(ln, "n", 1, 1, "ln(x)", "Natural logarithm; null up to 0."),
    NUMBER(log, "n", 1, 2, "log(x), log(base, x)", "Logarithm of base 10, or of a base."),
    NUMBER(sin, "n", 1, 1, "sin(x)", "Sine; angles are radians."),
    NUMBER(cos, "n", 1, 1, "cos(x)", "Cosine."),
    NUMBER(tan, "n", 1, 1, "tan(x)", "Tangent."),
    NUMBER(asin, "n", 1, 1, "asin(x)", "Arc sine; null beyond -1 to 1."),
    NUMBER(acos, "n", 1, 1, "acos(x)", "Arc cosine; null beyond -1 to 1."),
    NUMBER(atan, "n", 1, 1, "atan(x)", "Arc tangent."),
    NUMBER(atan2, "n", 2, 2, "atan2(y, x)", "Angle of the point x, y."),
    NUMBER(pi, "", 0, 0, "pi()", "3.14159…"),
    NUMBER(radians, "n", 1, 1, "radians(degrees)", "Degrees as radians."),
    NUMBER(degrees, "n", 1, 1, "degrees(radians)", "Radians as degrees."),
    { .name = "least",
      .args = "=",
      .min = 1,
      .max = FUNCTION_MAX_ARGS,
      .result = RESULT_SAME,
      .fn = fn_least,
      .usage = "least(a, b, ..)",
      .help = "The least of its arguments, which are all numbers or all texts.",
      .since = "0.1" },
    { .name = "greatest",
      .args = "=",
      .min = 1,
      .max = FUNCTION_MAX_ARGS,
      .result = RESULT_SAME,
      .fn = fn_greatest,
      .usage = "greatest(a, b, ..)",
      .help = "The greatest of its arguments.",
      .since = "0.1" },
    NUMBER(bitand, "n", 2, 2, "bitand(x, y)",
           "Bits of both, of ints of 64 bits; null if an argument has a fraction."),
    NUMBER(bitor, "n", 2, 2, "bitor(x, y)", "Bits of either."),
    NUMBER(bitxor, "n", 2, 2, "bitxor(x, y)", "Bits of one and not the other."),
    NUMBER(bitnot, "n", 1, 1, "bitnot(x)", "Every bit turned over."),
};

const struct function_group tpi_expr_math_functions = { "Numbers", items,
                                                        sizeof(items) / sizeof(items[0]) };
