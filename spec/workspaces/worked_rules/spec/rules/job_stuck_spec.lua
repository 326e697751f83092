-- The test that stands beside the rules in the text.
describe("job_stuck", function()
  it("fires when the end is missing, and resolves when it comes late", function()
    given { { "job.started", "j-1" } }
    advance "15m"
    expect_no_alert "j-1"
    advance "1s"
    expect_alert "j-1"

    advance "5m"
    when { { "job.finished", "j-1" } }
    expect_resolved "j-1"
  end)

  it("takes its deadline from the event", function()
    given { { "job.started", "j-1", { timeout = "1h" } } }
    advance "1h"
    expect_no_alert()

    advance "1s"
    expect_alert "j-1"
  end)

  it("is content with a job that fails in time", function()
    given { { "job.started", "j-1" }, { "job.failed", "j-1" } }
    advance "1h"

    assert.same({}, alerts())
  end)
end)
