#pragma once

#include "flow/feed.h"
#include "flow/group.h"

/* What the files of a group share: group.c (its states and its life), group_page.c (events through
 * scripts), group_commit.c (transactions and their outcome), group_letters.c (dead letters tried
 * again). */

#define GROUP_BATCH_MOST 5000 /* events of a batch while a culprit is looked for */

typedef enum {
	CONNECTING,
	READY,     /* between pages */
	LETTERS,   /* dead letters are being read */
	LOADING,   /* the states of a page are being read */
	RUNNING,   /* a page is being handled */
	QUERYING,  /* a script waits for the answer to a query */
	WAITING,   /* for a commit, in the middle of a page */
	RESETTING, /* for what is under way, before going back to the committed position */
	STILL,     /* paused for good */
	BROKEN,
} GroupState;

struct Group {
	uv_loop_t *loop;
	uv_idle_t *idle;
	PgConn *reader, *writer;
	int connected;
	const Frontier *frontier;
	Feed *feed;
	Sink *sink;
	Deliveries *given; /* to the members, since the last commit was sent */
	GroupClaim claim;
	Consumer *const *members;
	size_t n;
	GroupProgress *progress;
	GroupHandler fn;
	void *owner;

	GroupState state;
	int64_t handled;         /* in memory */
	int64_t sending;         /* position of the commit under way */
	size_t uncommitted;      /* events handled since the last commit was sent */
	size_t sent_events;      /* events of the commit under way … */
	int64_t last, sent_last; /* … and the id of the last one: handled, sent */
	bool sent_leave;         /* a member leaves with it */
	bool full;               /* the last page was as large as pages get: there is a backlog */
	uint64_t first_ns;       /* when the first of them was handled */

	EventSlice page;
	int64_t page_end;  /* scanned_to of the page at hand */
	size_t member, at; /* who is at work, and on which event */
	size_t loads;      /* answers that are awaited */
	struct Load {
		Group *group;
		Consumer *consumer;
	} * load;

	bool pausing;
	int64_t pause_at;
	bool *due;     /* members whose dead letters are to be retried */
	bool retrying; /* the keys of the member that is at it have been set free */
	int retried;   /* the member that is at it, -1: none */
	EventPage letters;
	bool dissolving; /* GROUP_BROKEN as soon as nothing is under way */
	Err why;
};

void group_to(Group *g, GroupState next); /* the only writer of g->state */
void group_run_on(Group *g, bool on);     /* whether the loop's turns call us */
void group_reset(Group *g); /* back to the committed position, as soon as nothing is under way */
void group_dissolve(Group *g, const Err *err); /* reset, then GROUP_BROKEN with the reason */

void group_begin_page(Group *g, EventSlice page);
void group_run_slice(Group *g);
void group_refuse(Group *g, Consumer *c, size_t index, const Err *err);

void group_commit(Group *g);
void group_on_commit(void *owner, const Err *err, int culprit);

bool group_begin_retry(Group *g); /* false: no dead letters are due */
