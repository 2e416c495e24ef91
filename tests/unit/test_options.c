/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/options.h"

struct values {
	bool flag;
	const char *text, *maybe;
	struct option_list list;
	uint64_t size, number;
	unsigned choice;
};

static const char *const colours[] = { "red", "green", NULL };
#define AT(member) .offset = offsetof(struct values, member)
static const struct option options[] = {
	{ .name = "flag", .letter = 'f', .kind = OPTION_FLAG, AT(flag) },
	{ .name = "text", .kind = OPTION_STRING, AT(text), .argument = "TEXT" },
	{ .name = "maybe", .kind = OPTION_OPTIONAL, AT(maybe), .argument = "TEXT" },
	{ .name = "list", .letter = 'l', .kind = OPTION_LIST, AT(list), .argument = "TEXT" },
	{ .name = "memory", .kind = OPTION_SIZE, AT(size), .argument = "SIZE", .min = 1 << 20, .max = 1ull << 40 },
	{ .name = "number", .kind = OPTION_NUMBER, AT(number), .argument = "N", .min = 1, .max = 16 },
	{ .name = "colour", .kind = OPTION_CHOICE, AT(choice), .argument = "COLOUR", .choices = colours },
	OPTION_END
};
static const struct values defaults = { .text = "unset", .number = 3 };
static const struct command command = {
	.name = "test", .options = options, .values_size = sizeof(struct values), .defaults = &defaults,
};
static const struct command with_operands = {
	.name = "test2", .operands = "NAME FILE", .min_operands = 2, .max_operands = 2, .options = options,
	.values_size = sizeof(struct values),
};

static struct values values;
static struct operands operands;
static struct error err;

static enum options_result parse(const struct command *c, char **arguments)
{
	err.text[0] = 0;
	return options_parse(c, arguments, &values, &operands, &err);
}
#define PARSE(...) parse(&command, (char *[]){ __VA_ARGS__, NULL })
#define PARSE2(...) parse(&with_operands, (char *[]){ __VA_ARGS__, NULL })

static void reads_every_kind(void **state)
{
	assert_int_equal(PARSE("--flag", "--text", "a b", "--memory=2G", "--number", "16", "--colour", "green", "--list", "x", "--list=y"),
			 OPTIONS_OK);
	assert_true(values.flag);
	assert_string_equal(values.text, "a b");
	assert_int_equal(values.size, 2ull << 30);
	assert_int_equal(values.number, 16);
	assert_int_equal(values.choice, 1);
	assert_int_equal(values.list.count, 2);
	assert_string_equal(values.list.values[1], "y");
}

static void letters(void **state)
{
	assert_int_equal(PARSE("-f", "-l", "x", "-ly", "--list", "z"), OPTIONS_OK);
	assert_true(values.flag);
	assert_int_equal(values.list.count, 3);
	assert_string_equal(values.list.values[0], "x");
	assert_string_equal(values.list.values[1], "y");
	assert_int_equal(PARSE("-l"), OPTIONS_ERROR);
	assert_non_null(strstr(err.text, "-l TEXT"));
	assert_int_equal(PARSE("-fx"), OPTIONS_ERROR);
	assert_int_equal(PARSE("-t", "a"), OPTIONS_ERROR);
	assert_non_null(strstr(err.text, "-t: is not one of the short options"));
	assert_int_equal(PARSE2("a", "-f", "-"), OPTIONS_OK); /* a dash alone is an operand */
	assert_string_equal(operands.values[1], "-");
}

static void keeps_defaults(void **state)
{
	assert_int_equal(parse(&command, (char *[]){ NULL }), OPTIONS_OK);
	assert_string_equal(values.text, "unset");
	assert_int_equal(values.number, 3);
	assert_null(values.maybe);
}

static void optional_value_may_be_missing(void **state)
{
	assert_int_equal(PARSE("--maybe", "--flag"), OPTIONS_OK);
	assert_string_equal(values.maybe, "");
	assert_true(values.flag);
	assert_int_equal(PARSE("--maybe", "file"), OPTIONS_OK);
	assert_string_equal(values.maybe, "file");
	assert_int_equal(PARSE("--maybe"), OPTIONS_OK);
	assert_string_equal(values.maybe, "");
}

static void operands_and_dashes(void **state)
{
	assert_int_equal(PARSE2("a", "--flag", "--", "--text"), OPTIONS_OK);
	assert_int_equal(operands.count, 2);
	assert_string_equal(operands.values[1], "--text");
	assert_int_equal(PARSE2("a"), OPTIONS_ERROR);
	assert_int_equal(PARSE2("a", "b", "c"), OPTIONS_ERROR);
	assert_non_null(strstr(err.text, "'c'"));
	assert_int_equal(PARSE("extra"), OPTIONS_ERROR);
	assert_int_equal(PARSE2("a", "-"), OPTIONS_OK);
}

static void wrong_usage_names_flag_and_remedy(void **state)
{
	assert_int_equal(PARSE("--memroy", "1G"), OPTIONS_ERROR);
	assert_non_null(strstr(err.text, "--memroy"));
	assert_non_null(strstr(err.text, "did you mean --memory?"));
	assert_int_equal(PARSE("--zzzzzz"), OPTIONS_ERROR);
	assert_null(strstr(err.text, "did you mean"));
	assert_int_equal(PARSE("--number", "17"), OPTIONS_ERROR);
	assert_non_null(strstr(err.text, "1 to 16"));
	assert_int_equal(PARSE("--number", "0x10"), OPTIONS_ERROR);
	assert_int_equal(PARSE("--number", ""), OPTIONS_ERROR);
	assert_int_equal(PARSE("--number", "99999999999999999999"), OPTIONS_ERROR);
	assert_int_equal(PARSE("--colour", "blue"), OPTIONS_ERROR);
	assert_non_null(strstr(err.text, "red, green"));
	assert_int_equal(PARSE("--text"), OPTIONS_ERROR);
	assert_int_equal(PARSE("--flag=1"), OPTIONS_ERROR);
	assert_int_equal(PARSE("-m"), OPTIONS_ERROR);
	assert_int_equal(PARSE("--help"), OPTIONS_HELP);
}

static void list_has_an_end(void **state)
{
	char *arguments[2 * OPTION_LIST_MAX + 3] = { NULL };
	for (unsigned i = 0; i < OPTION_LIST_MAX + 1; i++) {
		arguments[2 * i] = "--list";
		arguments[2 * i + 1] = "x";
	}
	assert_int_equal(parse(&command, arguments), OPTIONS_ERROR);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes; /* -1: refused */
	} cases[] = {
		{ "0", 0 }, { "1", 1 }, { "1k", 1024 }, { "3M", 3 << 20 }, { "512MiB", 512 << 20 }, { "2GB", 2ll << 30 }, { "1T", 1ll << 40 },
		{ "", -1 }, { "M", -1 }, { "1X", -1 }, { "1 M", -1 }, { "-1", -1 }, { "1MM", -1 }, { "99999999T", -1 },
		{ "18446744073709551616", -1 }, { "1.5G", -1 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t bytes = 0;
		int result = options_parse_size(cases[i].text, &bytes, &err);
		assert_int_equal(result, cases[i].bytes < 0 ? -1 : 0);
		if (result == 0)
			assert_int_equal(bytes, cases[i].bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(letters), cmocka_unit_test(reads_every_kind),	 cmocka_unit_test(keeps_defaults),
		cmocka_unit_test(optional_value_may_be_missing), cmocka_unit_test(operands_and_dashes),
		cmocka_unit_test(wrong_usage_names_flag_and_remedy), cmocka_unit_test(list_has_an_end),
		cmocka_unit_test(sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
