/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/json.h"

#include <errno.h>

int json_get_string(const json_t *object, const char *name, const char **value, struct error *err)
{
	const char *text = json_string_value(json_object_get(object, name));
	if (!text)
		return error_set(err, EINVAL, "\"%s\": a string is wanted here", name);
	*value = text;
	return 0;
}

int json_get_uint(const json_t *object, const char *name, uint64_t min, uint64_t max, uint64_t *value, struct error *err)
{
	const json_t *member = json_object_get(object, name);
	json_int_t v = json_integer_value(member);
	if (!json_is_integer(member) || v < 0 || (uint64_t)v < min || (uint64_t)v > max)
		return error_set(err, EINVAL, "\"%s\": a number from %llu to %llu is wanted here", name, (unsigned long long)min,
				 (unsigned long long)max);
	*value = (uint64_t)v;
	return 0;
}

int json_get_bool(const json_t *object, const char *name, bool *value, struct error *err)
{
	const json_t *member = json_object_get(object, name);
	if (!json_is_boolean(member))
		return error_set(err, EINVAL, "\"%s\": true or false is wanted here", name);
	*value = json_is_true(member);
	return 0;
}

int json_get_optional_bool(const json_t *object, const char *name, bool *value, struct error *err)
{
	return json_object_get(object, name) ? json_get_bool(object, name, value, err) : 0;
}

json_t *json_parse(const char *text, size_t size, struct error *err)
{
	json_error_t why;
	json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
	if (!json)
		error_set(err, EINVAL, "the text is not JSON: line %d, column %d: %s", why.line, why.column, why.text);
	return json;
}
