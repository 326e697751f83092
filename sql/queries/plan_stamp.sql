SELECT moonwake.plan_stamp()
