describe("order_ledger", function()
  it("fires when more was shipped than was paid", function()
    given { { "order.paid", "o-1" }, { "order.shipped", "o-1" } }
    expect_no_alert()

    when { { "order.shipped", "o-1" } }
    expect_alert("o-1", { summary = "o-1 was shipped 2 times and paid 1 times" })

    when { { "order.paid", "o-1" } }
    expect_resolved "o-1"
  end)

  it("forgets an order after a week, and its alert expires", function()
    given { { "order.shipped", "o-1" } }
    advance "7d"
    expect_alert "o-1"

    advance "1s"
    expect_alert("o-1", { state = "expired", reason = "ttl" })
  end)
end)
