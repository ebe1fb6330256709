/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See monitor.h. */
#include "agent/drillhost/monitor.h"

#include <errno.h>
#include <string.h>

#define ANSWER_S 30.0

/* Events come between a command and its answer. */
static int answer(struct channel *qmp, json_t **ret)
{
	json_t *object = NULL, *value;
	int r;

	for (;;) {
		r = channel_receive(qmp, ANSWER_S, &object);
		if (r)
			return r;
		if (!json_object_get(object, "event"))
			break;
		json_decref(object);
	}
	value = json_incref(json_object_get(object, "return"));
	json_decref(object);
	if (!value)
		return -EIO;
	*ret = value;
	return 0;
}

static int execute(struct channel *qmp, json_t *command, json_t **ret)
{
	json_t *value = NULL;
	int r = channel_send(qmp, command);

	if (!r)
		r = answer(qmp, &value);
	if (r)
		return r;
	if (ret)
		*ret = value;
	else
		json_decref(value);
	return 0;
}

static int plain(struct channel *qmp, const char *command)
{
	return execute(qmp, json_pack("{s:s}", "execute", command), NULL);
}

int monitor_begin(struct channel *qmp)
{
	json_t *greeting = NULL;
	int r = channel_receive(qmp, ANSWER_S, &greeting);

	if (r)
		return r;
	json_decref(greeting);
	return plain(qmp, "qmp_capabilities");
}

int monitor_stop(struct channel *qmp)
{
	return plain(qmp, "stop");
}

int monitor_resume(struct channel *qmp)
{
	return plain(qmp, "cont");
}

int monitor_line(struct channel *qmp, const char *line, char **ret)
{
	json_t *value = NULL;
	const char *text;
	int r = execute(qmp,
			json_pack("{s:s,s:{s:s}}", "execute",
				  "human-monitor-command", "arguments",
				  "command-line", line),
			&value);

	if (r)
		return r;
	text = json_string_value(value);
	if (!text)
		r = -EPROTO;
	else if (!ret)
		r = *text ? -EIO : 0;
	else if (!(*ret = strdup(text)))
		r = -ENOMEM;
	json_decref(value);
	return r;
}
