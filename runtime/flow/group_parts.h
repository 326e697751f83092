#pragma once

#include "flow/feed.h"
#include "flow/group.h"

/* What the files of a group share: group.c (its states and its life), group_page.c (events through
 * scripts), group_commit.c (transactions and their outcome), group_letters.c (dead letters tried
 * again), group_restore.c and group_clock.c (rules). */

#define GROUP_BATCH_MOST 5000 /* events of a batch while a culprit is looked for */

typedef enum {
	CONNECTING,
	READY,     /* between pages */
	RESTORING, /* what rules keep beside their states is being read */
	LETTERS,   /* dead letters are being read */
	LOADING,   /* the states of a page are being read */
	TICKING,   /* the states that timers need are being read */
	ASKING,    /* the log is asked how far the clocks may go */
	RUNNING,   /* a page is being handled */
	QUERYING,  /* a script waits for the answer to a query */
	WAITING,   /* for a commit, in the middle of a page */
	RESETTING, /* for what is under way, before going back to the committed position */
	STILL,     /* paused for good */
	BROKEN,
} GroupState;

/* Waits until what a commit raised has been read again. */
typedef struct {
	uint64_t commit; /* has to be through … */
	uint64_t turn; /* … then an observation of the log that began later; 0: not asked for … */
	int64_t head; /* … and everything up to here handled; INT64_MAX: not known yet */
	bool only;    /* nothing but what this commit raised is waited for */
} Echo;

struct Group {
	uv_loop_t *loop;
	uv_idle_t *idle;
	PgConn *reader, *writer;
	int connected;
	Frontier *frontier;
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
	int64_t newest;          /* timestamp of the last event that was handled */

	uint64_t commits_sent, commits_done;
	bool ticked, stepped; /* timers fired since the last commit was sent; one by one */
	bool sent_ticks;      /* the commit under way has such effects */
	int64_t tick_to;      /* how far they fire, and whether one by one */
	bool tick_once;
	int64_t bound, bound_at; /* no event behind that position is older */
	int64_t since;           /* the server's clock when rules were found to be rebuilt */
	int64_t clock;           /* so far the clocks of all but rules over alerts have come */
	int64_t ceiling;         /* rules over alerts wait for other groups' here */
	int64_t round_to;        /* the instant to which they go now */
	Echo round, echo;        /* what they wait for; what was raised last */
	bool apart;              /* whose effects are refused is being found out */

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

bool group_is_dirty(const Group *g);  /* something has happened that no commit was sent for */
bool group_must_wait(const Group *g); /* the commit under way comes first */
void group_stop(Group *g, Consumer *c, const Err *err); /* it cannot go on; the others do */

bool group_begin_restore(Group *g); /* these: false where there is nothing to do */
bool group_begin_clock(Group *g);
bool group_begin_bound(Group *g);
bool group_wants(const Group *g);          /* restore() is due */
bool group_clock_pending(const Group *g);  /* timers are due that may fire */
int64_t group_rebuild_end(const Group *g); /* a page must not go beyond */
bool group_ends_rebuild(const Group *g);   /* a commit is due that ends one */
void group_mark_rebuilt(Group *g);
void group_listen(Group *g, bool raised, bool late); /* a commit is through */

void group_begin_page(Group *g, EventSlice page);
bool group_take_states(struct Load *load, const PgRows *rows, Err *err);
void group_run_slice(Group *g);
void group_refuse(Group *g, Consumer *c, size_t index, const Err *err);

void group_commit(Group *g);
void group_on_commit(void *owner, const Err *err, int culprit);

bool group_begin_retry(Group *g); /* false: no dead letters are due */
