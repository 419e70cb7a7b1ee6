"""Tables of facts about the outside world, in our own words; typed models read them."""
