"""The moderation models that a page offers: pages of apps below this one cannot know them."""

from django import template

from marketplace.keys import guards

register = template.Library()

register.simple_tag(guards.guards_to_choose)
