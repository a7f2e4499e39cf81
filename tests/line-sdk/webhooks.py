"""Webhooks as LINE's own SDK builds, signs and reads them: a line of JSON each, for tests/it/webhooks/sdk.rs.

Arguments: the channel secret, LINE's id of the friend, the instant in milliseconds.
"""

import json
import sys

from linebot.v3 import WebhookParser, webhook
from linebot.v3.webhooks import (
    AccountLinkEvent, BeaconContent, BeaconEvent, CallbackRequest, DeliveryContext, EventMode, FollowDetail,
    FollowEvent, GroupSource, ImageMessageContent, JoinedMembershipContent, JoinEvent, LinkContent, MembershipEvent,
    MessageEvent, ContentProvider, PnpDelivery, PnpDeliveryCompletionEvent, PostbackContent, PostbackEvent,
    StickerMessageContent, TextMessageContent, UnfollowEvent, UnsendDetail, UnsendEvent, UserSource,
    VideoPlayComplete, VideoPlayCompleteEvent,
)

secret, user, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
count = 0


def event(kind, **fields):
    """An event of the friend's, of its own id and a millisecond later than the one before."""
    global count
    count += 1
    common = dict(
        timestamp=at + count, mode=EventMode.ACTIVE, webhook_event_id=f"01HSDK{count:020}",
        delivery_context=DeliveryContext(is_redelivery=False), source=UserSource(user_id=user),
    )
    return kind(**{**common, **fields})


def signature(body):
    """What the SDK expects the header to be."""
    expected = []
    plain = webhook.compare_digest
    webhook.compare_digest = lambda given, own: expected.append(own)
    try:
        webhook.SignatureValidator(secret).validate(body, "")
    finally:
        webhook.compare_digest = plain
    return expected[0].decode("utf-8")


def say(name, *events):
    request = CallbackRequest(destination="U8e742f61d673b39c7fff3cecb7536ef0", events=list(events))
    body = json.dumps(request.to_dict(), ensure_ascii=False)
    signed = signature(body)
    assert webhook.SignatureValidator(secret).validate(body, signed)
    # It reads what it wrote, each event as its kind.
    read = WebhookParser(secret).parse(body, signed)
    assert [type(event) for event in read] == [type(event) for event in events], name
    print(json.dumps({"name": name, "body": body, "signature": signed}))


token = "38ef843bde154d9b91c21320ffd17a0f"
text = TextMessageContent(id="1", text="こんにちは☕", quoteToken="q3Plxr4AgKd")
image = ImageMessageContent(id="2", contentProvider=ContentProvider(type="line"), quoteToken="q3Plxr4AgKe")
sticker = StickerMessageContent(id="3", packageId="446", stickerId="1988", stickerResourceType="STATIC", quoteToken="q")
say("verify")
say("follow", event(FollowEvent, reply_token=token, follow=FollowDetail(is_unblocked=True)))
say("messages", *(event(MessageEvent, reply_token=token, message=message) for message in (text, image, sticker)))
say("postbacks",
    event(PostbackEvent, reply_token=token, postback=PostbackContent(data="action=book")),
    event(PostbackEvent, reply_token=token,
          postback=PostbackContent(data="day", params={"date": "2026-12-24"})))
say("account link", event(AccountLinkEvent, reply_token=token, link=LinkContent(result="ok", nonce="abc")))
say("membership", event(MembershipEvent, reply_token=token, membership=JoinedMembershipContent(membership_id=3189)))
say("video", event(VideoPlayCompleteEvent, reply_token=token,
                   video_play_complete=VideoPlayComplete(tracking_id="track-1")))
say("nothing here",
    event(UnsendEvent, unsend=UnsendDetail(message_id="1")),
    event(PnpDeliveryCompletionEvent, delivery=PnpDelivery(data="9f86d081")),
    event(BeaconEvent, reply_token=token, beacon=BeaconContent(hwid="d41d8cd98f", type="enter")),
    event(JoinEvent, reply_token=token, source=GroupSource(group_id="Ca56f94637c", user_id=user)))
say("standby", event(MessageEvent, mode=EventMode.STANDBY, message=text))
say("unfollow", event(UnfollowEvent))
